"""Tasks. An entry of ``TASKS`` takes settings, then the training data, and returns a ``Task``.

Names and targets follow Taskonomy (Zamir et al., CVPR 2018) for the tasks that it has.
"""

from collections.abc import Callable

from howfar.data import Data, Pair
from howfar.spec import Spec
from howfar.spec.table import Table
from howfar.tasks.classification import Classification, class_scene, classification
from howfar.tasks.depth import depth_euclidean, depth_zbuffer
from howfar.tasks.given import given, task_of
from howfar.tasks.joint import Joint, gain, joint, nested, quality_gain, smoothed
from howfar.tasks.multilabel import class_object
from howfar.tasks.normals import normal
from howfar.tasks.own_loss import Criterion, OwnLoss
from howfar.tasks.regression import (
    colorization,
    edge_occlusion,
    edge_texture,
    keypoints2d,
    reshading,
    segment_unsup2d,
)
from howfar.tasks.restoration import autoencoding, denoising
from howfar.tasks.rotation import rotation
from howfar.tasks.segmentation import segment_semantic
from howfar.tasks.task import Task

OF_IMAGE = frozenset({"classification", "class_scene", "class_object", "rotation"})

TASKS: Table[Callable[[Data], Task]] = Table(
    "task",
    {
        # image-level
        "classification": classification,
        "class_scene": class_scene,
        "class_object": class_object,
        # dense
        "segment_semantic": segment_semantic,
        "depth_euclidean": depth_euclidean,
        "depth_zbuffer": depth_zbuffer,
        "normal": normal,
        "reshading": reshading,
        "edge_occlusion": edge_occlusion,
        # computed from the image, so any data set will do
        "edge_texture": edge_texture,
        "keypoints2d": keypoints2d,
        "segment_unsup2d": segment_unsup2d,
        "autoencoding": autoencoding,
        "denoising": denoising,
        "colorization": colorization,
        "rotation": rotation,
        # multi-task
        "joint": joint,
    },
)


def is_dense(task: Spec[Callable[[Data], Task]]) -> bool:
    """Return whether a task, or a part of a joint task, is dense."""
    parts = nested(task.settings) if task.name == "joint" else [task]
    return any(part.name not in OF_IMAGE for part in parts)


__all__ = [
    "TASKS", "Classification", "Criterion", "Joint", "OwnLoss", "Pair", "Task", "classification", "gain", "given",
    "is_dense", "quality_gain", "smoothed", "task_of",
]  # fmt: skip
