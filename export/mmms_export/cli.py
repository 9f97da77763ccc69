"""``mmms-export``: a checkpoint in, a Triton model repository out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mmms_client.terminal import run_command


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--checkpoint", type=click.Path(path_type=Path), default=None, help="A checkpoint of mmms-train.")
@click.option("--preset", "preset_name", default=None, help="A preset, for --random-weights.")
@click.option("--modalities", default=None, help="Comma-separated names for --preset; its own by default.")
@click.option("--random-weights", is_flag=True, help="Random instead of missing weights: for timing, never for masks.")
@click.option("--backbone-weights", default=None, metavar="NAME|FOLDER", help="Where a public backbone's weights are.")
@click.option(
    "--target",
    type=click.Choice(["cpu", "onnxruntime", "tensorrt", "tensorrt-rtx"]),
    default="cpu",
    show_default=True,
    help="What the stages run on.",
)
@click.option("--precision", default=None, help="Arithmetic inside a stage; the fastest whose masks agree, by default.")
@click.option("--resolution", type=click.IntRange(64, 2048), default=448, show_default=True, help="Side in px.")
@click.option("--compute-capability", default="8.9", show_default=True, help="For tensorrt-rtx.")
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(["backbone", "fuser", "csnet"]),
    help="Leave a stage to another server; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The model repository to write.")
def run(
    checkpoint: Path | None,
    preset_name: str | None,
    modalities: str | None,
    random_weights: bool,
    backbone_weights: str | None,
    target: str,
    precision: str | None,
    resolution: int,
    compute_capability: str,
    without: tuple[str, ...],
    out: Path,
) -> None:
    """Export a checkpoint; ends with a parity check against the eager network that fails loudly."""
    from mmms_client.errors import UsageError
    from mmms_export.cases import scene_cases
    from mmms_export.exporter import PRECISIONS, export, load_source
    from mmms_export.parity import ParityError
    from mmms_export.repository import Target
    from mmms_training.predictor import model_contract
    from mmms_training.presets import preset

    if resolution % 32:
        raise UsageError(
            f"Expected a resolution that is a multiple of 32 px but got {resolution}; take 448, 672 or 896."
        )
    names = [n for n in modalities.split(",") if n] if modalities is not None else None
    config = preset(preset_name, names) if preset_name else None
    if set(without) == {"backbone", "fuser", "csnet"}:
        raise UsageError("Expected a stage to export but got --without for each of the three; drop one.")
    source = load_source(checkpoint, config, resolution, backbone_weights, random_weights, without=without)
    capability = compute_capability if target == "tensorrt-rtx" else None
    *others, last = [precision] if precision else PRECISIONS[target]
    for name in (*others, last):
        chosen = Target(target, name)
        contract = model_contract(source.model, resolution, source.name, source.sha256, chosen.engine, name)
        cases = scene_cases(contract) if source.is_trained and not without else None
        try:
            export(source, chosen, resolution, out, click.echo, capability, cases, without)
            break
        except ParityError as error:
            if name == last:
                raise
            click.echo(f"{name}: {error}")
    click.echo(f"wrote {out}; serve it with: tritonserver --model-repository {out}")


def main() -> None:
    """Entry point."""
    sys.exit(run_command(run, "mmms-export"))
