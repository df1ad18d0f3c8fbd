"""`HyperBandForBOHB`: HyperBand whose brackets a `TuneBOHB` searcher fills one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.tune.experiment.trial import Trial
from narke.tune.schedulers.hyperband import HyperBandScheduler
from narke.tune.schedulers.trial_scheduler import TrialScheduler

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController

__all__ = ["HyperBandForBOHB"]


class HyperBandForBOHB(HyperBandScheduler):
    """HyperBand as BOHB needs it (Falkner et al., "BOHB", 2018): results carry the bracket's budget.

    Results get ``hyperband_info``, which tells the searcher the budget they belong to. Arguments as of
    `HyperBandScheduler`.
    """

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Say the budget in the result; then as HyperBand does."""
        if not self._is_told(result):
            return TrialScheduler.CONTINUE
        result["hyperband_info"] = {"budget": self._trial_info[trial][0]._cumul_r}
        searcher = getattr(tune_controller.search_alg, "searcher", None)
        if searcher is not None:
            # The searcher learns of the budget before the trial may be paused or stopped for it.
            searcher.on_trial_result(trial.trial_id, result)
        return super().on_trial_result(tune_controller, trial, result)

    def choose_trial_to_run(
        self, tune_controller: TuneController, allow_recurse: bool = True
    ) -> Trial | None:
        """A pending trial of the earliest band; brackets are not weighed against each other."""
        for band in self._hyperbands:
            for bracket in band:
                for trial in bracket.current_trials() if bracket is not None else ():
                    if trial.status == Trial.PENDING:
                        return trial
        if allow_recurse:
            self._judge_stalled(tune_controller)
            return self.choose_trial_to_run(tune_controller, allow_recurse=False)
        return None
