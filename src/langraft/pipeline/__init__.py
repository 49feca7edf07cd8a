"""A recipe becomes a run: stages in order, each a folder with a manifest, wired together here and
nowhere else.
"""

from langraft.pipeline.run import Run
from langraft.pipeline.stages import go, stage_of

__all__ = ["Run", "go", "stage_of"]
