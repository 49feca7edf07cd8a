"""The file that tells Ollama how to run a GGUF file."""

from __future__ import annotations

from pathlib import Path

from langraft.checkpoint.folder import load_tokenizer, read_config
from langraft.core.io import write_atomic

# Ollama's templates are Go's, not Jinja: the usual ones, known by a mark of theirs.
TEMPLATES = {
    "<|im_start|>": (
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
        "<|im_start|>assistant\n",
        ("<|im_start|>", "<|im_end|>"),
    ),
    "<|start_header_id|>": (
        "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n"
        "{{ .Content }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n",
        ("<|eot_id|>", "<|start_header_id|>"),
    ),
    "[INST]": (
        "[INST] {{ if .System }}<<SYS>>\n{{ .System }}\n<</SYS>>\n\n{{ end }}{{ .Prompt }} [/INST]",
        ("[INST]", "[/INST]", "<<SYS>>"),
    ),
}
PLAIN = "{{ .Prompt }}"
LONGEST = 8_192


def write_modelfile(model: Path, file: Path) -> Path:
    """Write `FILE.Modelfile` beside the GGUF `file` of the folder `model`; returns its path.

    A chat template that is none of the known ones is left to Ollama, which reads the file's own.
    """
    template = load_tokenizer(model).chat_template
    lines = [f"FROM ./{file.name}"]
    known = next((t for mark, t in TEMPLATES.items() if template and mark in template), None)
    if known is not None:
        lines.append(f'TEMPLATE """{known[0]}"""')
        lines += [f'PARAMETER stop "{stop}"' for stop in known[1]]
    elif template is None:
        lines.append(f'TEMPLATE """{PLAIN}"""')
    context = int(getattr(read_config(model), "max_position_embeddings", LONGEST))
    lines.append(f"PARAMETER num_ctx {min(context, LONGEST)}")
    path = file.with_name(file.name + ".Modelfile")
    write_atomic(path, "\n".join(lines) + "\n")
    return path
