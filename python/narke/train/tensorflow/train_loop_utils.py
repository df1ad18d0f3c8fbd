"""What training functions with TensorFlow call."""

from __future__ import annotations

from typing import Any

__all__ = ["prepare_dataset_shard"]


def prepare_dataset_shard(tf_dataset_shard: Any) -> Any:
    """A tf.data.Dataset of this worker's rows that TensorFlow does not split once more.

    Args:
        tf_dataset_shard: made of this worker's part of a dataset.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return tf_dataset_shard.with_options(options)
