"""The streaming executor: operators that start tasks, and the loop that waits for them."""
