"""What the run of an experiment or of a search shows: its data, its stages, and the training in each."""

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from femto.commands.shared.notes import note

if TYPE_CHECKING:
    from femto.experiments.engine import Run
    from femto.system.signals import StopRequest


def show_progress(made: "Run", stop: "StopRequest", quiet: bool) -> None:
    """Run all stages and show them."""
    from femto import tokenizers
    from femto.commands.shared.progress import Progress
    from femto.experiments.engine import StageStarted, VocabularyStarted

    say = Progress(1, quiet).say
    source = made.source
    log_data = made.recipe.log.get("dataset")
    other = f", not the journal's {log_data}" if log_data and made.recipe.data != log_data and source.is_substitute else ""
    say(f"data: {source.name}, {source.num_bytes:,} bytes{other}")
    with closing(made.run(stop)) as events, ExitStack() as shown:
        progress, asked = Progress(1, quiet), 0
        for event in events:
            if isinstance(event, VocabularyStarted):
                asked = event.vocab_size
                say(f"learning a vocabulary of {asked:,} tokens from the text …")
            elif isinstance(event, StageStarted):
                if asked:
                    learnt = tokenizers.load(made.folder / "tokenizer.json")
                    size = learnt.vocab_size - learnt.num_reserved
                    if size < asked:
                        note(f"the text has a use for {size:,} tokens, so that is the vocabulary")
                    asked = 0
                shown.close()
                say(f"stage {event.number} of {event.count}: {event.text}")
                progress = Progress(event.steps, quiet)
                if event.steps:
                    shown.enter_context(progress.showing())
            else:
                progress.show(event.event, event.model)
