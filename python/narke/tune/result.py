"""Keys of results and names of files; fixed by Ray's formats."""

from __future__ import annotations

import os

TRIAL_ID = "trial_id"
EXPERIMENT_TAG = "experiment_tag"
DONE = "done"
TRAINING_ITERATION = "training_iteration"
TIME_TOTAL_S = "time_total_s"
TIME_THIS_ITER_S = "time_this_iter_s"
TIMESTEPS_THIS_ITER = "timesteps_this_iter"
TIMESTEPS_TOTAL = "timesteps_total"
EPISODES_THIS_ITER = "episodes_this_iter"
EPISODES_TOTAL = "episodes_total"
EPISODE_REWARD_MEAN = "episode_reward_mean"
MEAN_ACCURACY = "mean_accuracy"
MEAN_LOSS = "mean_loss"
NEG_MEAN_LOSS = "neg_mean_loss"
HOSTNAME = "hostname"
NODE_IP = "node_ip"
PID = "pid"
DATE = "date"
TIMESTAMP = "timestamp"
SHOULD_CHECKPOINT = "should_checkpoint"
CHECKPOINT_DIR_NAME = "checkpoint_dir_name"
CONFIG_PREFIX = "config"
DEFAULT_METRIC = "_metric"

RESULT_DUPLICATE = "__duplicate__"
TRIAL_INFO = "__trial_info__"
STDOUT_FILE = "__stdout_file__"
STDERR_FILE = "__stderr_file__"

DEFAULT_EXPERIMENT_NAME = "default"
DEFAULT_RESULTS_DIR = os.path.expanduser(os.environ.get("RAY_AIR_LOCAL_CACHE_DIR", "~/ray_results"))
EXPR_META_FILE = "trial_status.json"
JOB_META_FILE = "job_status.json"
EXPR_PARAM_FILE = "params.json"
EXPR_PARAM_PICKLE_FILE = "params.pkl"
EXPR_PROGRESS_FILE = "progress.csv"
EXPR_RESULT_FILE = "result.json"
EXPR_ERROR_FILE = "error.txt"
EXPR_ERROR_PICKLE_FILE = "error.pkl"

DEFAULT_RESULT_KEYS = (TRAINING_ITERATION, TIME_TOTAL_S, MEAN_ACCURACY, MEAN_LOSS)
DEFAULT_EXPERIMENT_INFO_KEYS = ("trainable_name", EXPERIMENT_TAG, TRIAL_ID)
DEBUG_METRICS = (TRIAL_ID, "experiment_id", DATE, TIMESTAMP, PID, HOSTNAME, NODE_IP, CONFIG_PREFIX)
# Filled in beside what a trial reports.
AUTO_RESULT_KEYS = (
    TRAINING_ITERATION,
    TIME_TOTAL_S,
    EPISODES_TOTAL,
    TIMESTEPS_TOTAL,
    NODE_IP,
    HOSTNAME,
    PID,
    TIME_TOTAL_S,
    TIME_THIS_ITER_S,
    TIMESTAMP,
    DATE,
    "time_since_restore",
    "iterations_since_restore",
    "timesteps_since_restore",
    CONFIG_PREFIX,
    # not metrics of the program either
    "experiment_id",
    TRIAL_ID,
    DONE,
    "hyperparameters",
)
