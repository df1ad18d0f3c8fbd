"""A job to try submission with: an actor counts steps while the driver prints them."""

from __future__ import annotations

import argparse
import time

import narke

__all__ = ["StepActor"]


class StepActor:
    """Counts to a number of steps, one every interval.

    Args:
        interval_s: seconds between steps.
        total_steps: steps to make.
    """

    def __init__(self, interval_s: float = 1, total_steps: int = 3) -> None:
        self.interval_s = interval_s
        self.total_steps = total_steps
        self.current_step = 0
        self.stopped = False

    def run(self) -> int:
        """Make the steps; returns how many were made before `stop`."""
        while self.current_step < self.total_steps and not self.stopped:
            time.sleep(self.interval_s)
            self.current_step += 1
        return self.current_step

    def get_step(self) -> int:
        """Return the number of steps made."""
        return self.current_step

    def stop(self) -> None:
        """Make no further step."""
        self.stopped = True


def main() -> None:
    """Run the job from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interval-s", type=float, default=1)
    parser.add_argument("--total-steps", type=int, default=3)
    arguments = parser.parse_args()
    narke.init()
    actor = (
        narke.remote(StepActor).options(max_concurrency=2).remote(arguments.interval_s, arguments.total_steps)
    )
    run = actor.run.remote()
    while not narke.wait([run], timeout=arguments.interval_s)[0]:
        print(f"step {narke.get(actor.get_step.remote())} of {arguments.total_steps}")
    print(f"done after {narke.get(run)} steps")


if __name__ == "__main__":
    main()
