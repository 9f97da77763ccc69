"""``mmms-train``: data in, a checkpoint out; and what belongs to it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from mmms_client.errors import UsageError
from mmms_client.terminal import run_command
from mmms_training.config import TrainConfig, override, read_recipe


class TrainGroup(click.Group):
    """A group that trains when no command is named: ``mmms-train --out FOLDER``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=TrainGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Train the network; without a command it is `run`: `mmms-train --out FOLDER`."""


def training_options(command: Any) -> Any:
    """What all commands that train take."""
    options = [
        click.option("--recipe", default=None, help="nano, finetune, claim, or a file of name=value lines."),
        click.option("--preset", default=None, help="Configuration of the network."),
        click.option("--dataset", default=None, help="synthetic, deliver, mfnet, fmb, mcubes, folder, sessions ..."),
        click.option("--root", default=None, help="Folder of the data set; below $MMMS_DATA by default."),
        click.option("--modalities", default=None, help="Comma-separated names, or none; the preset's own by default."),
        click.option("--backbone-weights", default=None, metavar="NAME|FOLDER", help="Of a public backbone."),
        click.option("--store", default=None, help="Folder of `extract-features`: train without the backbone."),
        click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any setting of TrainConfig."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def make_config(options: dict[str, Any], recipe: str | None = None) -> TrainConfig:
    """Defaults, then the recipe, then the options with a name of their own, then ``--set``."""
    config = TrainConfig()
    name = options.pop("recipe") or recipe
    if name is not None:
        config = override(config, read_recipe(name))
    settings, modalities = options.pop("settings"), options.pop("modalities")
    named = {key: value for key, value in options.items() if value is not None}
    if modalities is not None:
        named["modalities"] = tuple(n for n in modalities.split(",") if n not in ("", "none"))
    return override(dataclasses.replace(config, **named), settings)


@cli.command()
@training_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for state, log and checkpoint.")
@click.option(
    "--weights",
    "start",
    type=click.Path(path_type=Path),
    default=None,
    help="Checkpoint, or folder of an earlier run, to start from.",
)
@click.option("--stop-after", type=float, default=None, metavar="SECONDS", help="Stop early, resumable.")
@click.option("--publish", type=click.Path(path_type=Path), default=None, help="Also write the weights in fp16 here.")
def run(out: Path, start: Path | None, stop_after: float | None, publish: Path | None, **options: Any) -> None:
    """Train a checkpoint. Run the same command again to continue after an interruption."""
    train(make_config(options), out, start, stop_after, publish)


def train(
    config: TrainConfig, out: Path, start: Path | None, stop_after: float | None = None, publish: Path | None = None
) -> None:
    """Train, or go on, and publish."""
    import torch

    from mmms_training.checkpoint import save_checkpoint
    from mmms_training.loop import Trainer
    from mmms_training.run_state import how_trained

    trainer = Trainer(config, out, start)
    if trainer.resume() and trainer.group.is_main:
        click.echo(f"resuming at step {trainer.step}")
    if trainer.step < trainer.steps:
        trainer.run(click.echo, stop_after)
    if publish is not None and trainer.group.is_main:
        save_checkpoint(publish, trainer.model.config, trainer.ema, how_trained(trainer), torch.float16)
        click.echo(f"wrote {publish}")
    trainer.group.close()


@cli.command()
@training_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for runs and results.")
@click.option("--budget", type=click.IntRange(min=1), default=24_000, show_default=True, help="Images per network.")
@click.option(
    "--base-budget",
    type=click.IntRange(min=1),
    default=None,
    help="Images of the RGB network that all start from; twice the budget.",
)
@click.option("--weights", "start", type=click.Path(path_type=Path), default=None, help="Such a network, instead.")
@click.option(
    "--base-weights",
    "base_start",
    type=click.Path(path_type=Path),
    default=None,
    help="Checkpoint with whose backbone, ParallelFPN and CSNet that network begins; from nothing by default.",
)
@click.option("--seeds", default="0,1", show_default=True, help="One comparison each.")
@click.option("--images", type=click.IntRange(min=2), default=100, show_default=True, help="Held-out scenes.")
@click.option("--scene-px", type=click.IntRange(min=48), default=256, show_default=True, help="Side of those scenes.")
@click.option("--shares", default="25,0,10,50", show_default=True, help="Invisible borders when measured, percent.")
@click.option("--only", default=None, help="Comma-separated networks; all by default.")
def claim(
    out: Path,
    budget: int,
    base_budget: int | None,
    start: Path | None,
    base_start: Path | None,
    seeds: str,
    images: int,
    scene_px: int,
    shares: str,
    only: str | None,
    **options: Any,
) -> None:
    """Measure the paper's central claim on synthetic scenes: RGB against thermal, depth and both; ablation; controls.

    Run the same command again to continue after an interruption; `mmms-train results` makes the tables.
    """
    from mmms_training.claim import ClaimPlan, choose_variants, run_claim

    variants = choose_variants(None if only is None else _names(only))
    plan = ClaimPlan(
        out, budget, base_budget or 2 * budget, _numbers("--seeds", seeds), images, _numbers("--shares", shares),
        variants, start, base_start, scene_px,
    )  # fmt: skip
    run_claim(plan, make_config(options, "claim"), click.echo)


@cli.command("extract-features")
@training_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the store.")
@click.option("--cuts", type=click.IntRange(min=1), default=8, show_default=True, help="Random cuts of each image.")
@click.option("--provider", default=None, metavar="HOST:PORT", help="A server with `backbone`, instead of a local one.")
def extract_features(out: Path, cuts: int, provider: str | None, **options: Any) -> None:
    """Run the backbone over a data set once and keep its features; `--store OUT` trains on them without it."""
    from mmms_training.extraction import FeatureGiver, LocalBackbone, Provider
    from mmms_training.extraction import extract_features as extract

    config = make_config(options)
    giver: FeatureGiver = LocalBackbone(config) if provider is None else Provider(provider, config)
    extract(config, giver, out, cuts, click.echo)


@cli.command()
@click.option("--checkpoint", required=True, help="A checkpoint, or a name in checkpoints/ such as nano.")
@training_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the run and the result.")
def finetune(checkpoint: str, out: Path, **options: Any) -> None:
    """Go on with a checkpoint on your own images (--dataset folder or sessions); says what it gained."""
    from mmms_training.checkpoint import find_checkpoint
    from mmms_training.finetune import finetune as go_on

    if options["preset"] is not None or options["modalities"] is not None:
        raise UsageError(
            "Expected the checkpoint to say preset and modalities but got --preset or --modalities; drop them."
        )
    go_on(find_checkpoint(checkpoint), make_config(options, "finetune"), out, click.echo)


@cli.command()
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Folders with rgb/ and labels/.")
@click.option("--checkpoint", default="nano", show_default=True, help="A checkpoint, or `nano` for the shipped one.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for results.")
@click.option("--resolution", type=int, default=320, show_default=True, help="Of all methods, px.")
@click.option("--tuning-scenes", type=click.IntRange(min=1), default=12, show_default=True)
@click.option("--scale", "scales", multiple=True, metavar="NAME=FACTOR[:OFFSET[:INVALID]]", help="Unit of a modality.")
def real(root: Path, checkpoint: str, out: Path, resolution: int, tuning_scenes: int, scales: tuple[str, ...]) -> None:
    """Measure a checkpoint against GrabCut and random walker on real photos."""
    from mmms_training.checkpoint import find_checkpoint
    from mmms_training.real_images import RealPlan, run_real

    run_real(RealPlan(root, find_checkpoint(checkpoint), out, resolution, tuning_scenes, scales), click.echo)


@cli.command("paper-rows")
def paper_rows() -> None:
    """Print a command for each row of the paper's tables."""
    from mmms_training.paper_rows import rows_page

    click.echo(rows_page(), nl=False)


@cli.command()
@click.option("--claim", "claim_folder", type=click.Path(path_type=Path), help="What `claim` wrote.")
@click.option("--real", "real_folder", type=click.Path(path_type=Path), help="What `real` wrote.")
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
def results(claim_folder: Path | None, real_folder: Path | None, docs: Path) -> None:
    """Put measurements into DOCS/results/*.json and write DOCS/results.md from those; print it."""
    from mmms_client.files import write_text_atomically
    from mmms_training.results import CLAIM_FILE, REAL_FILE, collect_claim, collect_real, store
    from mmms_training.results_page import results_page

    if claim_folder is not None:
        store(collect_claim(claim_folder), docs / "results" / CLAIM_FILE)
    if real_folder is not None:
        store(collect_real(real_folder), docs / "results" / REAL_FILE)
    page = results_page(docs / "results")
    write_text_atomically(docs / "results.md", page)
    click.echo(page)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in _names(text))
    except ValueError as error:
        raise UsageError(f"Expected {option} as numbers such as 0,1 but got {text!r}; change it.") from error


def main() -> None:
    """Entry point."""
    sys.exit(run_command(cli, "mmms-train"))
