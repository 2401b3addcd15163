"""Diffusion purification with a small model of our own, saved and loaded as diffusers does."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from howfar import arrays
from howfar.data import Data
from howfar.defend import DEFENSES, Chain, Learner
from howfar.errors import HowfarError, UsageError
from howfar.tasks import classification

SIZE = 16


def flat(n: int, generator: torch.Generator) -> Tensor:
    """Return images of one color each, in [0, 1]."""
    return torch.rand(n, 3, 1, 1, generator=generator).expand(-1, -1, SIZE, SIZE)


def as_data(images: Tensor) -> Data:
    pixels = (images * 255).round().to(torch.uint8)
    return Data(
        pixels=pixels.contiguous(), targets={"label": torch.arange(len(pixels)) % 2}, ids=torch.arange(len(pixels))
    )


def own(data: Data, seed: int = 0) -> Learner:
    return Learner(classification()(data), seed=seed)


def purified(text: str, data: Data, seed: int = 0) -> Tensor:
    return Chain.parse(text, DEFENSES).build().purify(data, own(data, seed)).pixels.float() / 255


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learned to draw images of one color."""
    from diffusers import DDPMScheduler, UNet2DModel

    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    net = UNet2DModel(
        sample_size=SIZE, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(16, 16),
        norm_num_groups=4, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    kept = DDPMScheduler().alphas_cumprod
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    generator = arrays.seeded(0, "flat")
    for _ in range(150):
        images = 2 * flat(32, generator) - 1
        steps = torch.randint(0, 200, (32,), generator=generator)
        noise = torch.randn(images.shape, generator=generator)
        amount = kept[steps].view(-1, 1, 1, 1)
        loss = (net(amount.sqrt() * images + (1 - amount).sqrt() * noise, steps).sample - noise).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.save_pretrained(folder)
    return folder


def test_noise_goes_and_the_image_stays(checkpoint: Path) -> None:
    generator = arrays.seeded(1, "flat")
    clean = 0.2 + 0.6 * flat(16, generator)
    protected = as_data(clean + 16 / 255 * torch.randn(clean.shape, generator=generator).sign())
    found = purified(f"diffusion-purify[checkpoint={checkpoint}]", protected)
    before, after = (x - x.mean((2, 3), keepdim=True) for x in (protected.pixels / 255, found))
    assert after.pow(2).mean().sqrt() < 0.5 * before.pow(2).mean().sqrt()
    assert (found.mean((2, 3)) - clean.mean((2, 3))).abs().mean() < 0.1
    assert torch.equal(found, purified(f"diffusion-purify[checkpoint={checkpoint}]", protected))
    assert not torch.equal(found, purified(f"diffusion-purify[checkpoint={checkpoint}]", protected, seed=1))


def test_a_single_step_changes_little(checkpoint: Path) -> None:
    data = as_data(0.2 + 0.6 * flat(8, arrays.seeded(2, "flat")))
    found = purified(f"diffusion-purify[checkpoint={checkpoint},time=1,stride=1]", data)
    assert (found - data.pixels / 255).abs().max() < 0.1


def test_what_cannot_be_loaded_says_why(checkpoint: Path, tmp_path: Path) -> None:
    gray = as_data(torch.zeros(4, 1, SIZE, SIZE))
    colored = as_data(torch.zeros(4, 3, SIZE, SIZE))
    with pytest.raises(UsageError, match=r"config\.json"):
        purified(f"diffusion-purify[checkpoint={tmp_path}]", colored)
    with pytest.raises(UsageError, match="channels"):
        purified(f"diffusion-purify[checkpoint={checkpoint}]", gray)
    with pytest.raises(UsageError, match="Use less"):
        purified(f"diffusion-purify[checkpoint={checkpoint},time=1001]", colored)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(HowfarError, match="cannot be read"):
        purified(f"diffusion-purify[checkpoint={tmp_path}]", colored)


def test_a_pickled_checkpoint_is_not_loaded(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    torch.save({}, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(HowfarError, match="cannot be read"):
        purified(f"diffusion-purify[checkpoint={tmp_path}]", as_data(torch.zeros(4, 3, SIZE, SIZE)))
