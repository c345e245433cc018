"""What the commands print: results on standard output, progress on standard error."""

from gitops.output.progress import Progress
from gitops.output.result import Output, print_result
from gitops.output.text import (
    doctor_text,
    history_text,
    maintenance_text,
    plan_text,
    result_text,
    status_text,
    unlock_text,
)

__all__ = [
    "Output",
    "Progress",
    "doctor_text",
    "history_text",
    "maintenance_text",
    "plan_text",
    "print_result",
    "result_text",
    "status_text",
    "unlock_text",
]
