"""First steps: a recipe from five answers, and what this machine can do."""
