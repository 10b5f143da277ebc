"""`femto count-tokens`: how often each token is used."""

import json

from femto.commands.shared import model_text
from femto.commands.shared.command_line import command
from femto.commands.shared.notes import marker_note
from femto.commands.shared.options import (
    FIRST_TEXT,
    Texts,
    model_dataset_option,
    model_or_tokenizer_option,
    print_json_text,
)


@command("Vocabularies", "count how often each token is used in a text", place=20)
@model_or_tokenizer_option("tokenizer.json")
@model_dataset_option
def count_tokens(model: str, dataset: Texts | None) -> None:
    """Count how often each token is used when a text is encoded. Prints a JSON list, the most frequent token first."""
    import numpy as np

    from femto import checkpoint, data, tokenizers

    if checkpoint.is_model(model):
        loaded = checkpoint.load(model, optimizer=False)
        tokenizer, read = loaded.tokenizer, model_text.read(dataset, loaded)
    else:
        tokenizer = checkpoint.load_tokenizer(model)
        read = model_text.load(dataset or FIRST_TEXT, tokenizer)
    counts = data.counts(read.ids, tokenizer.vocab_size)
    order = np.argsort(-counts, kind="stable").tolist()
    names = tokenizer.readable_tokens()
    if tokenizers.markers(tokenizer.tokens, tokenizer.kept):
        pieces = (tokenizer.decode_bytes(ids) for ids in data.parts(read.ids))
        for name, stands in tokenizers.markers(pieces, tokenizer.kept).items():
            found = int(counts[tokenizer.tokens.index(name)]) if name in tokenizer.tokens else stands
            if found < stands:
                taken = f"and is found {found:,} times: tokens that begin earlier take its bytes; train-bpe --keep keeps it whole"
                marker_note(name, stands, read.name, taken)
    entries = [{"rank": rank, "id": i, "token": names[i], "count": int(counts[i])} for rank, i in enumerate(order)]
    lines = ",\n".join(f"  {json.dumps(entry, ensure_ascii=False)}" for entry in entries)  # one a line, to be read
    print_json_text(f"[\n{lines}\n]")
