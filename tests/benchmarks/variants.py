"""What the parts of a recipe are worth: `python -m tests.benchmarks.variants PHOTOS CHECKPOINT OUTPUT [VARIANT ...]`.

usage: python -m tests.benchmarks.variants PHOTOS CHECKPOINT OUTPUT [VARIANT ...] [--folds 5] [--seeds 3]

PHOTOS has folders with one folder a class in each, as train/ and validation/: all of them are divided into folds of the same
proportions. Each variant trains on all folds but one, once for each seed, and is evaluated on that one: so every photograph is
evaluated, by networks that have not seen it. OUTPUT keeps what was measured: an interrupted call resumes, also within a run,
and variants that differ only in evaluation share their runs. The table is Markdown: its intervals of 95 % are over photographs,
those of differences over the differences of each photograph.
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.launching import shardtune

STEPS, BATCH = 160, 32
BASE = ("--fine_tune", "--initial_learning_rate", 0.01, "--precision", "mixed_bfloat16")  # as launch/flowers.sh
Flags = tuple[object, ...]
VARIANTS: dict[str, tuple[Flags, Flags]] = {  # flags of train, which override those of BASE; flags of eval
    "base": ((), ()),
    "weights of the last step": ((), ("--no_ema",)),
    "evaluated at 341 pixels": ((), ("--image_size", 341)),
    "learning rate 0.003": (("--initial_learning_rate", 0.003), ()),
    "learning rate 0.03": (("--initial_learning_rate", 0.03), ()),
    "batch norm frozen": (("--batch_norm", "frozen"), ()),
    "batch norm decay 0.95": (("--batch_norm_decay", 0.95), ()),
    "only above mixed5": (("--freeze_until", "mixed5"), ()),
    "only above mixed8": (("--freeze_until", "mixed8"), ()),
    "augment inception": (("--augment", "inception"), ()),
    "augment none": (("--augment", "none"), ()),
    "adamw 0.0003": (("--optimizer", "adamw", "--initial_learning_rate", 0.0003), ()),
    "float32": (("--precision", "float32"), ()),
}
Outcomes = npt.NDArray[np.float64]  # [photographs, seeds]: 1 where the first class is the right one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"of {', '.join(VARIANTS)} (default: all)")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if unknown := set(arguments.variants) - VARIANTS.keys():
        parser.error(f"there is no variant {', '.join(unknown)}")
    folds = fold_of_each(arguments.photos, arguments.folds)
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(f"{len(folds)} photographs in {arguments.folds} folds, {arguments.seeds} seeds, {STEPS} steps of {BATCH}\n")
    print("| variant | precision@1 | 95 % | beside base | 95 % |\n|---|---|---|---|---|")
    base: Outcomes | None = None
    for name in dict.fromkeys(["base", *(arguments.variants or VARIANTS)]):
        outcomes = np.array([outcomes_of(name, seed, folds, arguments) for seed in range(arguments.seeds)], np.float64).T
        base = outcomes if base is None else base
        print("|", " | ".join([name, *row(outcomes), *row(outcomes - base, sign="+")]), "|", flush=True)


def fold_of_each(photos: Path, folds: int) -> dict[str, int]:
    """The fold of each photograph, by its path: those of a class are dealt in an order that only their paths decide."""
    by_class: dict[str, list[str]] = {}
    for path in sorted(photos.glob("*/*/*")):
        by_class.setdefault(path.parent.name, []).append(str(path.relative_to(photos)))
    dealt = {
        path: number % folds
        for paths in by_class.values()
        for number, path in enumerate(sorted(paths, key=lambda path: hashlib.sha256(path.encode()).digest()))
    }
    return dict(sorted(dealt.items()))


def outcomes_of(variant: str, seed: int, folds: dict[str, int], arguments: argparse.Namespace) -> list[bool]:
    right = {
        path: is_right for fold in range(arguments.folds) for path, is_right in tested(variant, fold, seed, folds, arguments)
    }
    return [right[path] for path in folds]


def tested(
    variant: str, fold: int, seed: int, folds: dict[str, int], arguments: argparse.Namespace
) -> Iterator[tuple[str, bool]]:
    """Path and outcome of each photograph of a fold."""
    train, evaluate = VARIANTS[variant]
    data, run = data_set(fold, folds, arguments), arguments.output / "runs" / digest(train) / f"{fold}-{seed}"
    result = arguments.output / "results" / digest(train + evaluate) / f"{fold}-{seed}"
    if not (result / "predictions.csv").exists():
        start = ("--pretrained_model_checkpoint_path", arguments.checkpoint, "--seed", seed)
        length = ("--batch_size", BATCH, "--max_steps", STEPS, "--validate_epochs", 0, "--save_every", 20)
        flags = ("--data_dir", data, "--train_dir", run, *start, *length, *BASE, *train)
        shardtune("train", *flags, "--keep_checkpoints", 1, timeout=7200)
        shardtune("eval", "--checkpoint_dir", run, "--checkpoint", "last", "--eval_dir", result, *evaluate, timeout=1800)
    with (result / "predictions.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            yield line["file"], line["label"] == line["label_1"]


def data_set(fold: int, folds: dict[str, int], arguments: argparse.Namespace) -> Path:
    """A data set whose validation split is a fold."""
    data = Path(arguments.output / f"fold-{fold}-of-{arguments.folds}")
    lines = "".join(f"{p},{Path(p).parent.name},{'validation' if of == fold else 'train'}\n" for p, of in folds.items())
    listed = data.with_suffix(".csv")
    listed.write_text(f"path,label,split\n{lines}", encoding="utf-8")
    flags = ("--list", listed, "--image_root", arguments.photos, "--train_shards", 8, "--validation_shards", 1)
    shardtune("build", *flags, "--output_directory", data)
    return data


def digest(flags: Flags) -> str:
    return hashlib.sha256(json.dumps([STEPS, BATCH, BASE, flags]).encode()).hexdigest()[:12]


def row(values: Outcomes, sign: str = "") -> tuple[str, str]:
    """The mean, and its interval over photographs: each has the mean of its seeds."""
    of_each = values.mean(axis=1)
    half = 1.96 * of_each.std(ddof=1) / np.sqrt(len(of_each))
    mean = of_each.mean()
    return f"{mean:{sign}.3f}", f"{mean - half:{sign}.3f} to {mean + half:{sign}.3f}"


if __name__ == "__main__":
    main()
