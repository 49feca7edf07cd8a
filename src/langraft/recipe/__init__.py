"""The recipe: one YAML file, read into frozen models, one file a section. An unknown key is an
error that names its line and the nearest known key.
"""

from langraft.recipe.corpus import (
    Boilerplate,
    Buckets,
    Clean,
    Corpus,
    Decontaminate,
    Dedup,
    Holdout,
    LanguageCheck,
    MinHash,
    Quality,
    Sensitive,
    Source,
)
from langraft.recipe.evals import Eval
from langraft.recipe.export import Export
from langraft.recipe.graft import Distil, Graft
from langraft.recipe.hardware import Hardware
from langraft.recipe.load import load_recipe, needs
from langraft.recipe.pretrain import PRESETS, Forgetting, Pretrain
from langraft.recipe.section import Section
from langraft.recipe.tokenizer import Tokenizer
from langraft.recipe.training import Guard, Lora, Training
from langraft.recipe.tuning import DataSet, Dpo, Grpo, OnPolicy, Pairs, Ppo, Reward, Sft
from langraft.recipe.whole import Language, Recipe

__all__ = [
    "PRESETS",
    "Boilerplate",
    "Buckets",
    "Clean",
    "Corpus",
    "DataSet",
    "Decontaminate",
    "Dedup",
    "Distil",
    "Dpo",
    "Eval",
    "Export",
    "Forgetting",
    "Graft",
    "Grpo",
    "Guard",
    "Hardware",
    "Holdout",
    "Language",
    "LanguageCheck",
    "Lora",
    "MinHash",
    "OnPolicy",
    "Pairs",
    "Ppo",
    "Pretrain",
    "Quality",
    "Recipe",
    "Reward",
    "Section",
    "Sensitive",
    "Sft",
    "Source",
    "Tokenizer",
    "Training",
    "load_recipe",
    "needs",
]
