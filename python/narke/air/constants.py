"""Names of files, metrics and environment variables that training and tuning share; fixed by Ray's formats."""

from __future__ import annotations

# What Train and Tune write into an experiment's folder.
EXPR_ERROR_FILE = "error.txt"
EXPR_ERROR_PICKLE_FILE = "error.pkl"
EXPR_PARAM_FILE = "params.json"
EXPR_PARAM_PICKLE_FILE = "params.pkl"
EXPR_PROGRESS_FILE = "progress.csv"
EXPR_RESULT_FILE = "result.json"
LAZY_CHECKPOINT_MARKER_FILE = ".lazy_checkpoint_marker"
CHECKPOINT_TUNE_METADATA_FILE = ".tune_metadata"

# Metrics filled in beside those that a program reports.
TIMESTAMP = "timestamp"
TIME_THIS_ITER_S = "time_this_iter_s"
TRAINING_ITERATION = "training_iteration"
CHECKPOINT_ID_ATTR = "_current_checkpoint_id"

# Keys of datasets and of checkpoints made from dictionaries.
TRAIN_DATASET_KEY = "train"
EVALUATION_DATASET_KEY = "evaluation"
WILDCARD_KEY = "*"
MODEL_KEY = "model"
PREPROCESSOR_KEY = "_preprocessor"
TENSOR_COLUMN_NAME = "__value__"

MAX_REPR_LENGTH = int(80 * 1.5)
SESSION_MISUSE_LOG_ONCE_KEY = "air_warn_session_misuse"

COPY_DIRECTORY_CHECKPOINTS_INSTEAD_OF_MOVING_ENV = "TRAIN_COPY_DIRECTORY_CHECKPOINTS_INSTEAD_OF_MOVING"
DISABLE_LAZY_CHECKPOINTING_ENV = "TRAIN_DISABLE_LAZY_CHECKPOINTING"
AIR_ENV_VARS = {
    COPY_DIRECTORY_CHECKPOINTS_INSTEAD_OF_MOVING_ENV,
    "RAY_AIR_FULL_TRACEBACKS",
    "RAY_AIR_NEW_OUTPUT",
}
