"""The recipe: one YAML file, read into frozen models, one file a section. An unknown key is an
error that names its line and the nearest known key.
"""

from langraft.recipe.corpus import Clean, Corpus, Dedup, Holdout, Source
from langraft.recipe.evals import Eval
from langraft.recipe.export import Export
from langraft.recipe.graft import Distil, Graft
from langraft.recipe.hardware import Hardware
from langraft.recipe.load import load_recipe, needs
from langraft.recipe.pretrain import Forgetting, Pretrain
from langraft.recipe.section import Section
from langraft.recipe.tokenizer import Tokenizer
from langraft.recipe.whole import Language, Recipe

__all__ = [
    "Clean",
    "Corpus",
    "Dedup",
    "Distil",
    "Eval",
    "Export",
    "Forgetting",
    "Graft",
    "Hardware",
    "Holdout",
    "Language",
    "Pretrain",
    "Recipe",
    "Section",
    "Source",
    "Tokenizer",
    "load_recipe",
    "needs",
]
