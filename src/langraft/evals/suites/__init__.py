"""Benchmarks as tables: what they ask, where their files lie, how they are read."""

from langraft.evals.suites.load import (
    Exam,
    group_of,
    held_suites,
    language_of,
    load_exam,
    name_of,
    subject_names,
    with_choices,
)
from langraft.evals.suites.question import LETTERS, Question, Subject
from langraft.evals.suites.table import SUITES, Suite

__all__ = [
    "LETTERS",
    "SUITES",
    "Exam",
    "Question",
    "Subject",
    "Suite",
    "group_of",
    "held_suites",
    "language_of",
    "load_exam",
    "name_of",
    "subject_names",
    "with_choices",
]
