"""Memory, hours and money, before a run."""

from langraft.plan.recipe import plan_recipe

__all__ = ["plan_recipe"]
