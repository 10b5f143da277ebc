"""What the run of an experiment or of a search shows: its data, its stages, and the training in each."""

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from femto.commands.shared.progress import StopRequest
    from femto.experiments.engine import Run


def show_progress(made: "Run", stop: "StopRequest", quiet: bool) -> None:
    """Run all stages and show them."""
    from femto.commands.shared.progress import Progress
    from femto.experiments.engine import StageStarted, VocabularyStarted

    say = Progress(1, quiet).say
    source = made.source
    log_data = made.recipe.log.get("dataset")
    other = f", not the journal's {log_data}" if log_data and made.recipe.data != log_data and source.is_substitute else ""
    say(f"data: {source.name}, {source.num_bytes:,} bytes{other}")
    with closing(made.run(stop)) as events, ExitStack() as shown:
        progress = Progress(1, quiet)
        for event in events:
            if isinstance(event, VocabularyStarted):
                say(f"learning a vocabulary of {event.vocab_size:,} tokens from the text …")
            elif isinstance(event, StageStarted):
                shown.close()
                say(f"stage {event.number} of {event.count}: {event.text}")
                progress = Progress(event.steps, quiet)
                if event.steps:
                    shown.enter_context(progress.showing())
            else:
                progress.show(event.event, event.model)
