"""Preprocessors: scale, encode, fill, and join columns as learned from a dataset."""

from narke.data.preprocessor import Preprocessor
from narke.data.preprocessors.batch_mapper import BatchMapper
from narke.data.preprocessors.chain import Chain
from narke.data.preprocessors.concatenator import Concatenator
from narke.data.preprocessors.discretizer import CustomKBinsDiscretizer, UniformKBinsDiscretizer
from narke.data.preprocessors.encoder import (
    Categorizer,
    LabelEncoder,
    MultiHotEncoder,
    OneHotEncoder,
    OrdinalEncoder,
)
from narke.data.preprocessors.imputer import SimpleImputer
from narke.data.preprocessors.normalizer import Normalizer
from narke.data.preprocessors.scaler import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from narke.data.preprocessors.torch import TorchVisionPreprocessor
from narke.data.preprocessors.vectorizer import CountVectorizer, FeatureHasher, HashingVectorizer, Tokenizer

__all__ = [
    "BatchMapper",
    "Categorizer",
    "Chain",
    "Concatenator",
    "CountVectorizer",
    "CustomKBinsDiscretizer",
    "FeatureHasher",
    "HashingVectorizer",
    "LabelEncoder",
    "MaxAbsScaler",
    "MinMaxScaler",
    "MultiHotEncoder",
    "Normalizer",
    "OneHotEncoder",
    "OrdinalEncoder",
    "PowerTransformer",
    "Preprocessor",
    "RobustScaler",
    "SimpleImputer",
    "StandardScaler",
    "Tokenizer",
    "TorchVisionPreprocessor",
    "UniformKBinsDiscretizer",
]
