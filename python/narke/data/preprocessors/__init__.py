"""Preprocessors: scale, encode, fill, and join columns as learned from a dataset."""

from narke.data.preprocessor import Preprocessor
from narke.data.preprocessors.chain import Chain
from narke.data.preprocessors.concatenator import Concatenator
from narke.data.preprocessors.encoder import LabelEncoder, OneHotEncoder, OrdinalEncoder
from narke.data.preprocessors.imputer import SimpleImputer
from narke.data.preprocessors.normalizer import Normalizer
from narke.data.preprocessors.scaler import MaxAbsScaler, MinMaxScaler, StandardScaler

__all__ = [
    "Chain",
    "Concatenator",
    "LabelEncoder",
    "MaxAbsScaler",
    "MinMaxScaler",
    "Normalizer",
    "OneHotEncoder",
    "OrdinalEncoder",
    "Preprocessor",
    "SimpleImputer",
    "StandardScaler",
]
