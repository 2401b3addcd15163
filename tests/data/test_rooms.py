"""Rooms: rays against closed forms, targets against each other, images that depend on nothing but seed and number."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from howfar import arrays
from howfar.data.rooms import CLASSES, OBJECTS, SCENES, draw_room, render, rooms
from howfar.data.rooms.camera import axes
from howfar.data.rooms.cast import Caster
from howfar.data.rooms.load import drawn, kept
from howfar.data.rooms.parts import Material, Part
from howfar.data.rooms.render import View
from howfar.errors import HowfarError

SIZE = np.array([4.0, 5.0, 3.0], np.float32)
PLAIN = Material(((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 0, 1.0, (0.0, 0.0, 0.0), 0)


def fan(count: int = 400) -> np.ndarray:
    """Return unit directions all around."""
    rays = np.random.default_rng(0).standard_normal((count, 3)).astype(np.float32)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def views(count: int = 12, size: int = 48) -> list[View]:
    found = []
    for number in range(count):
        rng = arrays.rng_of(0, number)
        found.append(render(draw_room(rng), size, rng))
    return found


def test_an_empty_room_ends_at_its_walls() -> None:
    origin, rays = np.array([1.0, 2.0, 1.5], np.float32), fan()
    hits = Caster([], SIZE).nearest(origin, rays)
    points = origin + hits.distance[:, None] * rays
    off = np.minimum(np.abs(points), np.abs(points - SIZE)).min(1)
    assert off.max() < 1e-4
    assert ((points > -1e-4) & (points < SIZE + 1e-4)).all()
    floor = hits.part == -2
    assert np.allclose(hits.distance[floor], -origin[2] / rays[floor, 2], atol=1e-4)
    assert np.allclose(hits.normal[floor], [0, 0, 1])


@pytest.mark.parametrize("yaw", [0.0, 0.7])
def test_a_sphere_is_met_where_the_quadratic_says(yaw: float) -> None:
    center, radius = np.array([2.5, 3.0, 1.0]), 0.6
    ball = Part("ellipsoid", tuple(center.tolist()), (radius,) * 3, "plant", PLAIN, yaw)
    origin, rays = np.array([1.0, 1.0, 1.5], np.float32), fan(2000)
    hits = Caster([ball], SIZE).nearest(origin, rays)
    way = origin - center
    b, c = rays @ way, way @ way - radius**2
    met = (b * b - c > 1e-4) & (b < 0)
    assert met.sum() > 20
    assert (hits.part[met] == 0).all()
    assert np.allclose(hits.distance[met], -b[met] - np.sqrt(b[met] ** 2 - c), atol=1e-3)
    outward = (origin + hits.distance[met, None] * rays[met] - center) / radius
    assert np.allclose(hits.normal[met], outward, atol=5e-3)


def test_a_turned_box_is_met_where_the_same_box_unturned_would_be() -> None:
    yaw, center = 0.6, np.array([2.0, 2.5, 0.8])
    turned = Part("box", tuple(center.tolist()), (0.5, 0.3, 0.4), "table", PLAIN, yaw)
    straight = Part("box", tuple(center.tolist()), (0.5, 0.3, 0.4), "table", PLAIN, 0.0)
    c, s = math.cos(-yaw), math.sin(-yaw)
    back = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
    origin, rays = np.array([0.8, 0.9, 1.9], np.float32), fan(2000)
    one = Caster([turned], SIZE).nearest(origin, rays)
    own = ((origin - center) @ back.T + center).astype(np.float32)
    other = Caster([straight], np.array([9, 9, 9], np.float32)).nearest(own, (rays @ back.T).astype(np.float32))
    met = one.part == 0
    assert met.sum() > 20
    assert np.allclose(one.distance[met], other.distance[met], atol=1e-4)
    assert np.allclose(one.normal[met] @ back.T, other.normal[met], atol=1e-4)


def test_a_cylinder_has_a_mantle_and_caps() -> None:
    can = Part("cylinder", (2.0, 2.5, 1.0), (0.4, 0.4, 0.5), "lamp", PLAIN)
    rays = np.array([[0, 1, 0], [0, 0, -1]], np.float32)
    caster = Caster([can], SIZE)
    side = caster.nearest(np.array([2.0, 1.0, 1.0], np.float32), rays[:1])
    assert side.distance[0] == pytest.approx(1.1, abs=1e-5)
    assert np.allclose(side.normal[0], [0, -1, 0])
    top = caster.nearest(np.array([2.1, 2.5, 2.5], np.float32), rays[1:])
    assert top.distance[0] == pytest.approx(1.0, abs=1e-5)
    assert np.allclose(top.normal[0], [0, 0, 1])


def test_light_is_blocked_by_what_stands_between() -> None:
    board = Part("box", (2.0, 2.5, 1.5), (0.5, 0.5, 0.05), "table", PLAIN)
    lamp = np.array([2.0, 2.5, 2.8], np.float32)
    below, aside = np.array([[2.0, 2.5, 0.1], [0.5, 0.5, 0.1]], np.float32)
    assert Caster([board], SIZE).blocked(np.stack([below, aside]), lamp).tolist() == [True, False]


def test_camera_axes_are_a_right_handed_frame() -> None:
    frame = axes(0.4, -0.2, 0.1)
    assert np.allclose(frame @ frame.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(frame) == pytest.approx(1, abs=1e-6)
    assert np.allclose(axes(0.4, 0.0, 0.0)[1], [0, 0, 1])


def test_targets_of_a_picture_agree_with_each_other() -> None:
    for view in views():
        assert np.allclose(np.linalg.norm(view.normal, axis=0), 1, atol=1e-3)
        assert (view.depth_zbuffer <= view.depth_euclidean + 1e-4).all()
        assert view.depth_zbuffer.min() > 0
        assert set(np.unique(view.segment)) <= set(range(len(CLASSES)))
        # Where the surface jumps by half a meter, depth does too.
        inner = view.depth_euclidean
        jump = np.zeros_like(inner)
        for axis in (0, 1):
            step = np.abs(np.diff(inner, axis=axis))
            pad = [(0, 0), (0, 0)]
            pad[axis] = (1, 1)
            padded = np.pad(step, pad)
            both = np.maximum(
                padded.take(range(inner.shape[axis]), axis), padded.take(range(1, inner.shape[axis] + 1), axis)
            )
            jump = np.maximum(jump, both)
        assert (jump[view.edge_occlusion >= 1] >= 0.4).all()


def test_normals_are_those_of_the_surface_that_depth_describes() -> None:
    close = total = 0
    for number in range(12):
        rng = arrays.rng_of(1, number)
        room = draw_room(rng)
        view = render(room, 48, rng)
        rays = (room.camera.rays(48) @ room.camera.axes.T).reshape(48, 48, 3)
        points = rays * view.depth_euclidean[..., None]
        across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
        found = np.cross(down, across)
        found /= np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-9)
        flat = np.zeros((48, 48), bool)
        flat[1:-1, 1:-1] = True
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                flat &= (np.roll(view.normal, (dy, dx), (1, 2)) * view.normal).sum(0) > 0.9999
                flat &= np.roll(view.edge_occlusion, (dy, dx), (0, 1)) < 0.02
        cosine = (found * view.normal.transpose(1, 2, 0)[1:-1, 1:-1]).sum(-1)[flat[1:-1, 1:-1]]
        close, total = close + int((cosine > 0.99).sum()), total + len(cosine)
    assert total > 3000
    assert close / total > 0.98


def test_a_room_depends_on_its_seed_and_number_alone() -> None:
    few, many = drawn(32, 0, range(5, 8)), drawn(32, 0, range(10))
    for name, values in few.items():
        assert torch.equal(values, many[name][5:8]) or torch.equal(values.nan_to_num(), many[name][5:8].nan_to_num()), (
            name
        )
    assert not torch.equal(few["pixels"], drawn(32, 1, range(5, 8))["pixels"])


def test_every_kind_of_room_and_thing_occurs() -> None:
    found = drawn(32, 0, range(150))
    assert found["class_scene"].unique().tolist() == list(range(len(SCENES)))
    assert found["class_object"].shape == (150, len(OBJECTS))
    assert (found["class_object"].sum(0) > 2).all()
    seen = found["segment_semantic"].unique().tolist()
    assert seen == list(range(len(CLASSES)))


def test_colour_says_nothing_of_the_kind_of_room() -> None:
    """A linear model on the mean color is no better than chance; a mean over many would show a hue of its own."""
    from sklearn.linear_model import LogisticRegression

    found = drawn(16, 0, range(600))
    colors, scenes = found["pixels"].float().mean((2, 3)).numpy(), found["class_scene"].numpy()
    right = LogisticRegression(max_iter=500).fit(colors[:400], scenes[:400]).score(colors[400:], scenes[400:])
    assert right < 0.3  # chance 0.17


def test_the_cache_is_used_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    first = kept(tmp_path, 16, 0, 0, 3)
    (file,) = tmp_path.glob("*.safetensors")
    assert torch.equal(kept(tmp_path, 16, 0, 0, 3).pixels, first.pixels)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(HowfarError, match="damaged"):
        kept(tmp_path, 16, 0, 0, 3)


def test_training_and_test_rooms_differ(tmp_path: Path) -> None:
    splits = rooms(size=16, train=4, test=4, root=tmp_path)
    assert not set(splits.train.ids.tolist()) & set(splits.test.ids.tolist())
    assert not torch.equal(splits.train.pixels, splits.test.pixels)
    assert splits.train.classes == "class_scene"


DIGEST = """
import hashlib
from howfar.data.rooms.load import drawn
found = hashlib.sha256()
for name, values in sorted(drawn(32, 0, range(60)).items()):
    found.update(name.encode() + values.numpy().tobytes())
print(found.hexdigest())
"""
OLDER = {  # x86-64 processors without AVX, as far as the libraries let themselves be told
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
}


def test_rooms_are_the_same_on_all_processors() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", DIGEST], env={**os.environ, **more}, capture_output=True, text=True, check=True
        ).stdout
        for more in ({}, OLDER)
    }
    assert len(found) == 1
