"""The lines at the end of a run about instruction tuning and feedback."""

from __future__ import annotations

from langraft.pipeline.summary import tuned_lines


def test_every_stage_says_what_it_measured() -> None:
    sft = {
        "held_out_loss": {"before": 2.5, "after": 1.25},
        "samples": [{"prompt": "[问]", "before": "a", "after": "b"}],
    }
    assert tuned_lines("sft", sft) == [
        "sft: held-out loss 2.500 to 1.250",
        "\n[bold]\\[问][/bold]",
        "  before  a",
        "  after  b",
    ]
    reward = {"held_out": {"accuracy": 0.75, "length_accuracy": 0.9, "pairs": 40}}
    assert tuned_lines("align-reward", reward) == [
        "align-reward: 75.0 % of 40 held-out pairs ranked right ('the longer is better': 90.0 %)"
    ]
    dpo = {"held_out": {"accuracy": 0.8, "likelier": 0.4}}
    assert tuned_lines("align-dpo", dpo) == ["align-dpo: the chosen answer gains more in 80.0 %"]
    ppo = {"reward": {"first": 0.1, "last": 0.5}, "kl": {"first": 0.0, "last": 3.0}}
    assert tuned_lines("align-ppo", ppo) == [
        "align-ppo: reward 0.100 to 0.500",
        "align-ppo: kl 0.000 to 3.000 nats an answer",
    ]
    assert tuned_lines("eval", {"samples": [{"prompt": "a"}]}) == []
    assert tuned_lines("corpus", {}) == []
