"""What should be known of a text before its loss is believed: whether it is another one, too short, or trained on."""

from typing import Any

from femto.checkpoint.history import History
from femto.data import Dataset, spoken
from femto.system.text import printable
from femto.token_files import TokenIds
from femto.training.leaks import shared_passages
from femto.training.overfitting import best


def other_text(history: History, dataset: Dataset) -> str | None:
    """Whether the last session trained on another text than this; None if on the same, or if that is not known."""
    sessions = history.sessions()
    before = sessions[-1]["dataset"] if sessions else {}
    if before.get("sha256") in (None, "", dataset.sha256):  # an imported model's has another hash
        return None
    same_name = "what it holds has changed" if before["name"] == dataset.name else f"{spoken(dataset.name)} is another text"
    return printable(f"the last session trained on {spoken(before['name'])}; {same_name}")


def short_text(ids: TokenIds, num_tokens: int, name: str) -> str | None:
    """Whether windows of the context, and a token more, are longer than the text (N,) that they are taken from."""
    if len(ids) > num_tokens:
        return None
    return (
        f"{name}: {len(ids):,} tokens to train on are less than a window of {num_tokens + 1:,}, so the text repeats inside each "
        "window, and the loss falls as the model copies; take a longer text, or a model with a shorter context"
    )


def other_validation(history: History, dataset: Dataset, split: float, held_out: Dataset | None) -> str | None:
    """Whether the last session validated on another text, or held out less of this one."""
    sessions = history.sessions()
    before = _held_out(sessions[-1]) if sessions else None
    if before is None:
        return None
    if isinstance(before, float) and held_out is None:
        if before >= split or other_text(history, dataset):
            return None
        held = f"the last session held out {before:g} of the text, this one {split:g}"
        return f"{held}: the model has been trained on text that it is validated on now"
    if isinstance(before, dict) and held_out is not None and before.get("sha256") == held_out.sha256:
        return None
    now = held_out.to_json() if held_out else split
    return printable(f"the last session validated on {_called(before)}, this one validates on {_called(now)}")


def trained_on(history: History, dataset: Dataset, share: float = 1.0) -> str | None:
    """Whether any session trained on the last `share` of this text."""
    splits = [_split(session) for session in history.sessions() if session["dataset"].get("sha256") == dataset.sha256]
    held_out = min(splits, default=1.0)
    if held_out >= share:
        return None
    if held_out:
        advice = f"--validation-split {held_out:g} measures the rest alone"
        return f"the model was trained on all but the last {held_out:g} of this text; {advice}"
    last = _held_out(history.sessions()[-1])
    path = last.get("path") if isinstance(last, dict) else None
    advice = f"; --dataset {path} measures what it was validated on" if isinstance(path, str) else ""
    return printable(f"the model was trained on this text: its loss says little of new text{advice}")


def trained_on_validation(history: History, dataset: Dataset, held_out: Dataset) -> str | None:
    """Whether text to validate on is trained on, now or in an earlier session."""
    share = shared_passages(held_out.ids, dataset.ids)
    if share:
        much = "all passages" if share == 1.0 else f"{share:.0%} of the passages"
        where = f"{much} of {spoken(held_out.name)} that were looked for stand in {spoken(dataset.name)} too"
        return f"{where}: the model is trained on text that it is validated on"
    if trained_on(history, held_out):
        where = f"an earlier session trained on {spoken(held_out.name)}"
        return f"{where}: the model has been trained on text that it is validated on now"
    return None


def best_not_kept(history: History, dataset: Dataset, split: float, held_out: Dataset | None, path: str) -> str | None:
    """What to know of the best validation so far, on what this session validates on, if its file is not there."""
    sessions, kept = history.sessions(), best(history)
    if kept is None:
        return None
    before = _held_out(sessions[-1])
    if held_out is not None:
        same = isinstance(before, dict) and before.get("sha256") == held_out.sha256
    else:
        same = before == split and sessions[-1]["dataset"].get("sha256") == dataset.sha256
    lost = f"{path} is not there: the best validation so far, {kept[1]:.4f} at step {kept[0]:,}, was not kept"
    return printable(f"{lost}; the file is made when one is better") if same else None


def _split(session: dict[str, Any]) -> float:
    """The last share of its data set that a session did not train on."""
    settings = session.get("training")
    split = settings.get("validation_split") if isinstance(settings, dict) else None
    if "validation_dataset" in session or not isinstance(split, int | float) or not 0 <= split < 1:
        return 0.0
    return float(split)


def _held_out(session: dict[str, Any]) -> dict[str, Any] | float | None:
    """What a session validated on: another text, or the last share of its data set; None if that is not known."""
    if "validation_dataset" in session:
        found: dict[str, Any] = session["validation_dataset"]
        return found
    return _split(session) if isinstance(session.get("training"), dict) else None


def _called(held_out: dict[str, Any] | float) -> str:
    if isinstance(held_out, dict):
        return spoken(str(held_out["name"]))
    return f"the last {held_out:g} of the text" if held_out else "nothing"
