"""Models with random weights, made where they are needed: a causal one, an adapter of it, an encoder."""

import pathlib

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dog",
    "user",
    "assistant",
    "hello",
    "world",
]


def _tokenizer(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(32, 127)]
    vocabulary = {text: at for at, text in enumerate(["<end>", "<unk>", "\n", *letters, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(" ", behavior="isolated")
    made.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return len(vocabulary)


def causal(folder):
    """A GPT-2 of two layers; gives its folder."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = str(folder)
    size = _tokenizer(folder)
    torch.manual_seed(7)
    config = GPT2Config(
        vocab_size=size, n_positions=128, n_embd=32, n_layer=2, n_head=4, eos_token_id=0, bos_token_id=0
    )
    config.initializer_range = 0.5
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def adapter(base, folder):
    """A LoRA adapter that changes what the causal model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(len(str(folder)))
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(
            r=4, lora_alpha=64, target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True
        ),
    )
    model.save_pretrained(folder)


def _bert(folder, cls, seed, **more):
    """A BERT of one layer; gives its folder."""
    import torch
    from transformers import BertConfig

    folder = str(folder)
    size = _tokenizer(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        **more,
    )
    cls(config).save_pretrained(folder)
    return folder


def encoder(folder):
    """One that gives vectors."""
    from transformers import BertModel

    return _bert(folder, BertModel, 3)


def judge(folder):
    """One that gives pairs of texts a number."""
    from transformers import BertForSequenceClassification

    return _bert(folder, BertForSequenceClassification, 5, num_labels=1, initializer_range=0.5)
