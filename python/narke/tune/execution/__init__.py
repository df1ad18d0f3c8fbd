"""Running of trials: the controller's decisions, and the processes that it drives."""
