"""Submitting programs to a cluster as jobs, and watching them."""

from narke.job_submission._client import JobSubmissionClient
from narke.job_submission._records import (
    DriverInfo,
    JobDetails,
    JobErrorType,
    JobInfo,
    JobStatus,
    JobType,
)

__all__ = [
    "DriverInfo",
    "JobDetails",
    "JobErrorType",
    "JobInfo",
    "JobStatus",
    "JobSubmissionClient",
    "JobType",
]
