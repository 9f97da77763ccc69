"""``mmms-train``: synthetic scenes or a data set in, a checkpoint out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mmms_client.terminal import run_command
from mmms_training.config import TrainConfig, override


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--preset", default="nano", show_default=True, help="Configuration of the network.")
@click.option("--modalities", default=None, help="Comma-separated names; the preset's own by default.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for state, log and checkpoint.")
@click.option(
    "--weights",
    "start",
    type=click.Path(path_type=Path),
    default=None,
    help="Checkpoint, or folder of an earlier run, to start from.",
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any setting of TrainConfig.")
@click.option("--stop-after", type=float, default=None, metavar="SECONDS", help="Stop early, resumable.")
@click.option("--publish", type=click.Path(path_type=Path), default=None, help="Also write the weights in fp16 here.")
def train(
    preset: str,
    modalities: str | None,
    out: Path,
    start: Path | None,
    settings: tuple[str, ...],
    stop_after: float | None,
    publish: Path | None,
) -> None:
    """Train a checkpoint. Run the same command again to continue after an interruption."""
    import torch

    from mmms_training.checkpoint import save_checkpoint
    from mmms_training.config import to_dict
    from mmms_training.loop import Trainer

    names = tuple(n for n in modalities.split(",") if n) if modalities is not None else None
    config = override(TrainConfig(preset=preset, modalities=names), settings)
    trainer = Trainer(config, out, start)
    if trainer.resume() and trainer.group.is_main:
        click.echo(f"resuming at step {trainer.step}")
    if trainer.step < config.steps:
        trainer.run(click.echo, stop_after)
    trainer.group.close()
    if publish is not None and trainer.group.is_main:
        how = {
            "settings": to_dict(config),
            "steps_done": trainer.step,
            "started_from": str(start) if start else None,
        }
        save_checkpoint(publish, trainer.model.config, trainer.ema, how, torch.float16)
        click.echo(f"wrote {publish}")


def main() -> None:
    """Entry point."""
    sys.exit(run_command(train, "mmms-train"))
