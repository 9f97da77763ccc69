"""The network against the paper's sizes and equations."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from mmms_client.contract import KNOWN_MODALITIES
from mmms_client.errors import DataError, ModalityError, SessionFormatError, UsageError
from mmms_training.model.backbone import HubViT, _random_model, build_backbone
from mmms_training.model.csnet import CSNet, FoldedHead, MLPHead
from mmms_training.model.mmms import MMMS, backbone_shapes, build_mmms, pyramid_shapes
from mmms_training.model.ms_patch_embed import draw_disks
from mmms_training.model.segformer import ReducedAttention, initialize
from mmms_training.presets import PRESETS, BackboneConfig, config_from_dict, config_to_dict, preset

SIDE = 64


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def tiny(config_name: str = "nano") -> MMMS:
    torch.manual_seed(0)
    return build_mmms(preset(config_name), SIDE).eval()


def tiny_of(**switches: bool) -> MMMS:
    torch.manual_seed(0)
    return build_mmms(dataclasses.replace(preset("nano"), **switches), SIDE).eval()


def inputs(model: MMMS, batch: int = 2, side: int = SIDE) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(batch, 3, side, side, generator=generator) * 255
    maps = [torch.rand(batch, m.channels, side, side, generator=generator) for m in model.config.modalities]
    return image, maps, torch.ones(batch, len(maps))


def test_nano_has_at_most_8_million_parameters() -> None:
    assert millions(build_mmms(preset("nano"), 448)) <= 8.0


@pytest.fixture(scope="module")
def dinov2_sizes() -> list[float]:
    """Millions of parameters of DINOv2-B14 with 0, 1, 2 and 3 modalities, built without allocating weights."""
    backbone = build_backbone(PRESETS["mmms_dinov2_b14"].backbone, 448, is_random=True)
    names = ("thermal", "depth", "nir")
    return [millions(MMMS(preset("mmms_dinov2_b14", names[:n]), backbone)) for n in range(4)]


def test_parameters_agree_with_table_vi(dinov2_sizes: list[float]) -> None:
    rgb, one, two, three = dinov2_sizes
    assert rgb <= 125.2
    assert one - rgb == pytest.approx(18.9, abs=0.3)
    assert two - one == pytest.approx(15.6, abs=0.3)
    assert three - two == pytest.approx(15.6, abs=0.3)


def test_shapes_said_are_shapes_computed() -> None:
    model = tiny()
    image, maps, presence = inputs(model)
    features = model.backbone(image)
    assert [tuple(f.shape[1:]) for f in features] == list(backbone_shapes(model.config, SIDE))
    mixed = model.encode(image, maps, presence)
    assert [tuple(f.shape[1:]) for f in mixed] == list(pyramid_shapes(model.config, SIDE))


def test_absent_modality_cannot_matter_whatever_its_tensor_holds() -> None:
    model = tiny()
    image, maps, presence = inputs(model)
    presence[:, 0] = 0
    noise = [torch.rand_like(maps[0]), maps[1]]
    for a, b in zip(model.encode(image, maps, presence), model.encode(image, noise, presence), strict=True):
        assert torch.equal(a, b)


def test_present_modality_matters() -> None:
    model = tiny()
    image, maps, presence = inputs(model)
    absent = presence.clone()
    absent[:, 1] = 0
    with_depth, without = model.encode(image, maps, presence), model.encode(image, maps, absent)
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(with_depth, without, strict=True))


def test_pixels_without_a_value_count_as_the_mean() -> None:
    model = tiny()
    image, maps, presence = inputs(model)
    hole, mean = [m.clone() for m in maps], [m.clone() for m in maps]
    hole[0][..., :10] = -1.0
    mean[0][..., :10] = 0.5
    for a, b in zip(model.encode(image, hole, presence), model.encode(image, mean, presence), strict=True):
        assert torch.equal(a, b)


def test_without_modalities_the_fuser_is_removed() -> None:
    model = build_mmms(preset("nano", []), SIDE).eval()
    assert millions(model.mmfuser) == 0
    image = torch.rand(1, 3, SIDE, SIDE) * 255
    pyramid = model.parallel_fpn(model.backbone(image), SIDE)
    assert all(torch.equal(a, b) for a, b in zip(model.encode(image), pyramid, strict=True))


@pytest.mark.parametrize(("has_effca", "has_mlp"), [(True, False), (False, True), (False, False)])
def test_ablation_switches_of_table_vii(has_effca: bool, has_mlp: bool) -> None:
    config = dataclasses.replace(preset("nano"), has_effca=has_effca, has_mlp=has_mlp)
    model = build_mmms(config, SIDE).eval()
    names = [name for name, _ in model.mmfuser.cross_blocks.named_parameters()]
    assert any(".attentions." in n for n in names) == has_effca
    assert any(".ffn." in n for n in names) == has_mlp
    if not has_effca and not has_mlp:  # what is left is a plain sum
        image, maps, presence = inputs(model)
        pyramid = model.parallel_fpn(model.backbone(image), SIDE)
        mixed = model.mmfuser([p * 0 for p in pyramid], maps, presence)
        doubled = model.mmfuser([p * 0 for p in pyramid], maps, presence * 2)
        assert all(torch.allclose(2 * a, b, atol=1e-5) for a, b in zip(mixed, doubled, strict=True))


def test_lateral_connections_begin_at_zero_and_carry_the_sensor_of_the_same_place() -> None:
    plain = tiny_of(has_lateral=False)
    lateral = tiny_of(has_lateral=True)
    missing, unexpected = lateral.load_state_dict(plain.state_dict(), strict=False)
    assert missing and all(".laterals." in name for name in missing) and not unexpected
    image, maps, presence = inputs(plain)
    before = plain.encode(image, maps, presence)
    after = lateral.encode(image, maps, presence)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for block in lateral.mmfuser.cross_blocks:
        nn.init.eye_(block.laterals[0].weight)
    tokens = [torch.zeros(1, 32, 8, 8), torch.zeros(1, 32, 8, 8)]
    moved = [t.clone() for t in tokens]
    moved[0][:, 3, 5, 2] = 1.0
    block = dataclasses.replace(lateral.config, has_effca=False, has_mlp=False)
    sums = build_mmms(block, SIDE).eval().mmfuser.cross_blocks[0]
    nn.init.eye_(sums.laterals[0].weight)
    ones = torch.ones(1, 2)
    change = sums(torch.zeros(1, 32, 8, 8), moved, ones) - sums(torch.zeros(1, 32, 8, 8), tokens, ones)
    assert change[0, 3, 5, 2] == 2.0 and change.abs().sum() == 2.0


def test_folded_head_computes_the_same() -> None:
    torch.manual_seed(0)
    head = MLPHead((8, 16, 24, 32), 12)
    assert head.norm.running_mean is not None and head.norm.running_var is not None
    nn.init.normal_(head.norm.running_mean)
    nn.init.uniform_(head.norm.running_var, 0.2, 2.0)
    nn.init.normal_(head.norm.weight)
    nn.init.normal_(head.norm.bias)
    head.eval()
    pyramid = [torch.randn(2, c, s, s) for c, s in ((8, 16), (16, 8), (24, 4), (32, 2))]
    assert torch.allclose(head(pyramid), FoldedHead(head)(pyramid), atol=1e-5)


def test_head_is_segformers_concatenation() -> None:
    """Mixing before upsampling equals the published order: upsample, concatenate coarse to fine, mix."""
    torch.manual_seed(0)
    head = MLPHead((8, 16, 24, 32), 12).eval()
    pyramid = [torch.randn(1, c, s, s) for c, s in ((8, 16), (16, 8), (24, 4), (32, 2))]
    maps = [
        nn.functional.interpolate(p(x), (16, 16), mode="bilinear", align_corners=False)
        for p, x in zip(head.projections, pyramid, strict=True)
    ]
    expected = head.classify(torch.relu(head.norm(head.mix(torch.cat(maps[::-1], 1)))))
    assert torch.allclose(head(pyramid), expected, atol=1e-5)


def test_flipping_a_clicks_sign_changes_the_answer() -> None:
    model = tiny()
    mixed = model.encode(*inputs(model))
    coords, previous = torch.full((2, 1, 2), 30.0), torch.zeros(2, 1, SIDE, SIDE)
    positive = model.click(mixed, coords, torch.ones(2, 1, dtype=torch.int32), previous)
    negative = model.click(mixed, coords, torch.zeros(2, 1, dtype=torch.int32), previous)
    assert (positive - negative).abs().max() > 1e-3


def test_previous_mask_matters() -> None:
    model = tiny()
    mixed = model.encode(*inputs(model))
    coords, labels = torch.full((2, 1, 2), 30.0), torch.ones(2, 1, dtype=torch.int32)
    zeros = torch.zeros(2, 1, SIDE, SIDE)
    assert (
        model.click(mixed, coords, labels, zeros) - model.click(mixed, coords, labels, zeros + 1)
    ).abs().max() > 1e-3


def test_csnet_adds_the_downsampled_stage_before() -> None:
    config = preset("nano")
    csnet = CSNet(config).eval()
    pyramid = [torch.randn(1, *shape) for shape in pyramid_shapes(config, SIDE)]
    zeros = [torch.zeros_like(p) for p in pyramid]
    changed = [pyramid[0] + 1, *pyramid[1:]]
    seen: list[torch.Tensor] = []
    csnet.stages[3].register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    csnet(pyramid, zeros)
    csnet(changed, zeros)
    assert not torch.equal(seen[0], seen[1])


TINY_BACKBONES = [
    BackboneConfig("dinov2_with_registers", "x/y", 14, 48, 4, 3, (1, 2, 3, 4)),
    BackboneConfig("vit_mae", "x/y", 16, 48, 4, 3, (1, 2, 3, 4)),
    BackboneConfig("ijepa", "x/y", 16, 48, 4, 3, (1, 2, 3, 4)),
    BackboneConfig("sam", "x/y", 16, 48, 4, 3, (1, 2, 3, 4), native_resolution=1024),
]
NATIVE = {"dinov2_with_registers": 518, "vit_mae": 224, "ijepa": 224, "sam": 1024}


@pytest.mark.parametrize("config", TINY_BACKBONES, ids=lambda c: c.kind)
def test_public_backbone_at_its_own_size_gives_the_librarys_hidden_states(config: BackboneConfig) -> None:
    torch.manual_seed(0)
    library = _random_model(config).eval()
    side = NATIVE[config.kind]
    ours = HubViT(config, library, side).eval()
    pixels = torch.randn(1, 3, side, side)
    with torch.no_grad():
        expected = library(pixels, output_hidden_states=True).hidden_states
        features = ours(pixels)
    grid = side // config.patch_size
    for tap, maps in zip(config.taps, features, strict=True):
        hidden = expected[tap]
        if config.kind == "sam":
            hidden = hidden.permute(0, 3, 1, 2)
        else:
            hidden = hidden[:, -grid * grid :].transpose(1, 2).reshape(1, -1, grid, grid)
        assert torch.allclose(maps, hidden, atol=1e-4), f"tap {tap}"


@pytest.mark.parametrize("config", TINY_BACKBONES, ids=lambda c: c.kind)
def test_public_backbone_at_448_gives_maps_of_the_said_shape(config: BackboneConfig) -> None:
    backbone = build_backbone(config, 448, is_random=True)
    features = backbone(torch.rand(1, 3, 448, 448) * 255)
    side = 448 // config.patch_size
    assert [tuple(f.shape) for f in features] == [(1, 48, side, side)] * 4


def test_frozen_backbone_gets_no_gradient_and_stays_in_evaluation_mode() -> None:
    config = dataclasses.replace(preset("nano"), backbone=TINY_BACKBONES[1])
    model = build_mmms(config, SIDE, random_backbone=True).train()
    image, maps, presence = inputs(model)
    sum(m.sum() for m in model.encode(image, maps, presence)).backward()  # type: ignore[union-attr]
    assert all(p.grad is None for p in model.backbone.parameters())
    assert not any(m.training for m in model.backbone.modules())
    assert any(p.grad is not None for p in model.mmfuser.parameters())


def test_missing_public_weights_say_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        DataError, match=r"public name facebook/vit-mae-base.*--backbone-weights FOLDER.*--random-weights"
    ):
        build_backbone(PRESETS["mmms_mae_b16"].backbone, 448, weights="/nowhere/at/all")


def test_resolution_that_the_patch_does_not_divide_is_refused() -> None:
    with pytest.raises(DataError, match="multiple of the patch size 14 px but got 450"):
        build_backbone(PRESETS["mmms_dinov2_b14"].backbone, 450, is_random=True)


def test_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'mmms_mae_b16'"):
        preset("mmms_mae_b14x")


def test_unknown_modality_of_a_preset() -> None:
    with pytest.raises(ModalityError, match=r"out of thermal, depth.* but got 'sonar'"):
        preset("nano", ["sonar"])


@pytest.mark.parametrize("name", PRESETS)
def test_configurations_survive_their_text_form(name: str) -> None:
    import json

    config = PRESETS[name]
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_unknown_key_in_a_configuration_suggests_the_nearest() -> None:
    data = config_to_dict(preset("nano")) | {"has_efca": True}
    with pytest.raises(SessionFormatError, match=r"got 'has_efca' .*; did you mean 'has_effca'"):
        config_from_dict(data)


def test_every_known_modality_has_a_usable_range() -> None:
    for known in KNOWN_MODALITIES.values():
        assert known.spec.maximum > known.spec.minimum and known.spec.channels >= 1


def test_fresh_nano_is_well_scaled_from_image_to_features() -> None:
    """Maps that double from block to block leave the attention nothing to say; a click must be heard beside them."""
    model = build_mmms(preset("nano"), 192).train()
    image, maps, presence = inputs(model, side=192)
    with torch.no_grad():
        features = model.backbone(image)
        mixed = model.encode(image, maps, presence)
        disks = draw_disks(torch.full((1, 1, 2), 90.0), torch.ones(1, 1, dtype=torch.int32), 192, 5.0)
        clicked = model.ms_patch_embed(torch.cat((torch.zeros(1, 1, 192, 192), disks), 1))
    assert all(0.1 < float(f.std()) < 5 for f in (*features, *mixed)), [float(f.std()) for f in (*features, *mixed)]
    assert all(0.3 < float(f.abs().max()) < 10 for f in clicked)


def test_fresh_network_is_unsure_and_expects_a_small_surface() -> None:
    """With logits of about 10 it would spend its first hundreds of steps on unlearning them."""
    model = tiny()
    image, maps, presence = inputs(model)
    coords, labels = torch.tensor([[[20.0, 20.0]], [[40.0, 12.0]]]), torch.ones(2, 1, dtype=torch.int32)
    with torch.no_grad():
        logits = model.click(model.encode(image, maps, presence), coords, labels, torch.zeros(2, 1, SIDE, SIDE))
    assert logits.std() < 1.5 and -3.0 < float(logits.mean()) < 0.0


def test_fresh_attention_prefers_tokens_like_the_query() -> None:
    torch.manual_seed(0)
    attention = ReducedAttention(32, 2, 1)
    attention.apply(initialize)
    kinds = torch.randn(4, 32)
    tokens = kinds.repeat(6, 1)[None]  # 24 tokens of 4 kinds
    q, k = (attention._split(p) for p in (attention.query(tokens), attention.key(tokens)))
    scores = (q @ k.transpose(-1, -2)).mean(1)[0]
    same = torch.arange(24)[:, None] % 4 == torch.arange(24)[None] % 4
    assert scores[same].mean() > scores[~same].mean() + 1.0
