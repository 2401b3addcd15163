"""Presets of ``howfar bench --suite NAME``."""

from typing import Any

from howfar.defend import DEFENSES

PAPER = (
    "random", "em[paper]", "rem[paper]", "dc[paper]", "tap[paper]", "lsp[paper]", "ops[paper]", "ar[paper]",
)  # fmt: skip
PAPER_DEFENSES = ("none", "jpeg", "ueraser", "at", "cutout", "mixup")
TWO_TASKS: dict[str, Any] = {
    "source_tasks": ("class_scene",),
    "tasks": ("class_scene", "segment_semantic"),
    "defenses": ("none",),
    "models": ("airbench:32-64-128",),
    "dense_models": ("unet:24-48-96",),
    "probe_images": 0,
    "alignment_images": 48,
    # The recipe's batches of 500 images would give only 40 steps.
    "train": {"airbench": {"epochs": 10, "batch_size": 100}, "unet": {"epochs": 8}},
}

ABOUT = {
    "two-tasks": "The default: protection crafted against one task, tested on two",
    "quick": "The default in two minutes: fewer images and protectors, one seed",
    "digits": "Six protectors, two defenses and two small networks on 16×16 digits",
    "standard": "Nine protectors on CIFAR-10, with and without JPEG",
    "controls": "Positive controls on CIFAR-10: more noise, and more protected images",
    "crosstask": "Twelve protectors crafted against scenes or segments, five tasks",
    "mixtures": "What protected images are worth to learners with clean ones, on CIFAR-10",
    "cifar10-core": "Protectors × defenses on CIFAR-10 with ResNet-18, for a GPU",
    "paper": "The benchmark of the paper with four networks, for a GPU",
    "paper-fast": "The benchmark of the paper with a fast network",
}

SMALLER = {
    "paper": "paper-fast", "paper-fast": "standard", "cifar10-core": "standard", "standard": "digits",
    "controls": "digits", "mixtures": "digits", "crosstask": "two-tasks", "digits": "two-tasks", "two-tasks": "quick",
}  # the next smaller suite  # fmt: skip

SUITES: dict[str, dict[str, Any]] = {
    # Do other tasks remain learnable? Two tasks, each with a network that is trained in seconds. SAL and UD would take
    # twice as long as training on so few images; --set probe_images=32 adds them.
    "two-tasks": {
        "dataset": "rooms[size=32,train=2000,test=400]",
        "protectors": ("random", "em", "ops", "lsp[eps=8/255]", "stripes@segment_semantic"),
        **TWO_TASKS,
        "seeds": (0, 1),
    },
    # The same in a minute: fewer rooms and protectors, and one seed, which cannot decide anything.
    "quick": {
        "dataset": "rooms[size=32,train=1000,test=400]",
        "protectors": ("ops", "stripes@segment_semantic"),
        **TWO_TASKS,
        "seeds": (0,),
    },
    "digits": {
        # Digits are nearly black and white, so noise needs twice the usual strength.
        "dataset": "digits",
        "protectors": ("random", "random:class", "em", "em:class", "lsp[eps=32/255]", "ops"),
        "defenses": ("none", "jpeg"),
        "models": ("lenet5", "resnet8[width=8]"),
        "seeds": (0, 1, 2),
        "eps": 16 / 255,
        "held_out": 200,
        "probe_images": 128,
        "recipe": "sgd",
        "train": {"epochs": 10, "batch_size": 32, "lr": 0.05, "crop": 0},
    },
    # All of CIFAR-10 with a victim that is trained in minutes on one core; augmentation as in the papers.
    "standard": {
        "dataset": "cifar10",
        "protectors": ("random", "random:class", "em", "em:class", "tap", "lsp", "ar", "ops", "pil"),
        "defenses": ("none", "jpeg"),
        "models": ("airbench:small",),
        "seeds": (0, 1, 2, 3, 4, 5),
        "until": 5.0,
        "held_out": 1000,
        "train": {"epochs": 4},
    },
    # Positive controls: increasing noise, and an increasing share of protected images; with PIL, which is effective and
    # crafted in seconds.
    "controls": {
        "dataset": "cifar10",
        "protectors": (
            *(f"pil[eps={levels}/255]" for levels in (2, 4, 8, 12, 16)),
            *(f"{name}[share={share}]" for name in ("pil", "ops") for share in (0.2, 0.4, 0.6, 0.8)),
            "ops",
        ),
        "defenses": ("none",),
        "models": ("resnet8",),
        "seeds": (0, 1, 2),
        "limit_train": 4000,
        "limit_test": 2000,
        "recipe": "sgd",
        "train": {"epochs": 10, "batch_size": 32, "lr": 0.05, "crop": 0, "flip": False},
    },
    # The worth of protected images to learners that have clean ones; the learning curve comes from the same runs.
    "mixtures": {
        "dataset": "cifar10",
        "protectors": ("random", "ops", "lsp", "ar", "em:class"),
        "defenses": tuple(
            f"mix[clean={count}{alone}]" for count in (100, 500, 2000, 5000) for alone in ("", ",alone=true")
        ),
        "models": ("airbench:16-32-32",),
        "seeds": (0, 1, 2),
        "limit_train": 10_000,
        "limit_test": 4000,
        "held_out": 10_000,
        "probe_images": 0,
        "alignment_images": 0,
        "train": {"epochs": 6, "batch_size": 200},
    },
    # The suite two-tasks with more protectors, three more tasks, SAL and alignment: the tables of docs/crosstask.md.
    "crosstask": {
        "dataset": "rooms[size=32,train=2000,test=400]",
        "protectors": (
            *("random", "random:class", "ops", "lsp", "ar", "pil", "cuda", "em:class", "taught-stripes"),
            *(f"{name}@segment_semantic" for name in ("stripes", "layered", "carriers")),
        ),
        **TWO_TASKS,
        "tasks": ("class_scene", "segment_semantic", "depth_euclidean", "normal", "edge_texture"),
        "probe_images": 32,
        "alignment_images": 192,
        "seeds": (0, 1, 2),
    },
    # Protectors × defenses at the published size, for a GPU. docs/defenses.md has a small version.
    "cifar10-core": {
        "dataset": "cifar10",
        "protectors": ("random", *(f"{name}[paper]" for name in ("em", "rem", "tap")), "lsp", "ar", "ops", "cuda"),
        "defenses": (
            *(name for name in DEFENSES if name not in ("diffusion-purify", "fine-tune", "transfer", "mix")),
            "fine-tune[data=cifar100]",
        ),
        "models": ("resnet18",),
        "seeds": (0, 1, 2),
        "held_out": 2000,
        "probe_images": 512,
        "recipe": "sgd",
        "train": {"epochs": 60, "batch_size": 128, "lr": 0.1},
    },
    # The benchmark of the paper, for a GPU; also with --dataset cifar100 or a folder with a subset of ImageNet.
    "paper": {
        "dataset": "cifar10",
        "protectors": PAPER,
        "defenses": PAPER_DEFENSES,
        "models": ("resnet18", "resnet50", "senet18", "vit-small"),
        "seeds": (0, 1, 2),
        "held_out": 2000,
        "probe_images": 512,
        "recipe": "paper",
    },
    # The same with a network that is trained in seconds on a GPU and in minutes on a core.
    "paper-fast": {
        "dataset": "cifar10",
        "protectors": PAPER,
        "defenses": PAPER_DEFENSES,
        "models": ("airbench:medium",),
        "seeds": (0, 1, 2, 3, 4, 5),
        "until": 5.0,
        "held_out": 2000,
    },
}
