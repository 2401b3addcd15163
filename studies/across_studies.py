"""The studies of ``across_tasks.py``: which victims learn which tasks from what, a table each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from howfar.grid.experiment import Experiment
from howfar.grid.overrides import make_suite

SMALL = "rooms[size=32,train=1500,test=500,seed=1]"  # to choose by
LARGE = "rooms[size=64,train=1500,test=500,seed=2]"  # to judge by
SEGMENTS, SCENE = "segment_semantic", "class_scene"
EDGES = "joint:segment_semantic+edge_occlusion"
KNOWN = "joint:class_scene+segment_semantic+depth_euclidean"
TASKS = "class_scene,segment_semantic,depth_euclidean,class_object,edge_occlusion"
BASELINES = "random,random[eps=14/255]"  # the second one has the L2 of ±8/255 everywhere
AUGMENTED = ("train.crop=4", "train.flip=true")
ROBUST = "stripes,carriers[cell=2],carriers[colour=luma],carriers[tile=8,smooth=2,colour=luma],carriers[mirrored=true]"
# REM, SEM, TUE, DC, GUE and CP would take three to six minutes a seed.
PUBLISHED = "em,aue,mi-ue,pue,lsp,ar,ops,cuda,pil,ntga,tap,aap,sep,hypo,delusive,entf,uc"
ADAM = ("train.epochs=36", "train.lr=0.003", "train.optimizer=adam")
ROADS = ("train.epochs=20", "train.batch_size=16", "train.lr=0.005", "train.optimizer=adam", "train.weight_decay=0")
FEW = {SEGMENTS: "random,stripes", KNOWN: "carriers[sharing=sum]"}


@dataclass(frozen=True)
class Study:
    """One table.

    Attributes:
        dataset: of victims and protectors.
        rows: protectors, by what they are crafted against.
        tasks: that victims learn.
        seeds: of noise, weights and batches.
        models: the victims.
        defenses: of the learners.
        settings: further keys of a suite.
        probe_images: for SAL and UD; 0 leaves them out.
    """

    dataset: str
    rows: dict[str, str]
    tasks: str = TASKS
    seeds: str = "0-2"
    models: str = "resnet8[width=8]"
    defenses: str = "none"
    settings: Sequence[str] = ()
    probe_images: int = 0

    def experiments(self, data: Path) -> list[Experiment]:
        """Return the cells; label-free protectors are crafted and learned once, whatever the source task."""
        found: dict[str, Experiment] = {}
        first = None
        for source, protectors in self.rows.items():
            names = ("tasks", "seeds", "models", "defenses", "probe_images")
            flags: dict[str, object] = {name: getattr(self, name) for name in names}
            flags |= {"dataset": self.dataset.format(data=data), "protectors": protectors, "source_tasks": source}
            for cell in make_suite("crosstask", flags, settings=self.settings).experiments():
                first = first or cell.source_task
                blind = not cell.protector.build().uses_labels
                cell = replace(cell, source_task=first) if blind else cell
                found.setdefault(cell.steps()[1].key, cell)
        return list(found.values())


STUDIES = {
    "sharing": Study(
        SMALL,
        {
            SEGMENTS: f"{BASELINES},carriers",
            KNOWN: "carriers,carriers[sharing=sum],carriers[sharing=bands],carriers[codes=ordered],"
            "carriers[codes=ordered,sharing=sum],em[rounds=10],mtl-ue,refined-carriers",
        },
    ),
    "targets": Study(
        SMALL,
        {
            SEGMENTS: "random,carriers,em[rounds=10]",
            SCENE: "carriers,em,lsp",
            "depth_euclidean": "carriers",
            "edge_occlusion": "carriers",
            "joint:class_scene+segment_semantic": "carriers[sharing=sum]",
            "joint:segment_semantic+depth_euclidean": "carriers[sharing=sum]",
            EDGES: "carriers,carriers[sharing=sum]",
            KNOWN: "carriers[sharing=sum]",
            "joint:class_scene+segment_semantic+depth_euclidean+edge_occlusion": "carriers[sharing=sum]",
            "joint:class_scene+segment_semantic+depth_euclidean+edge_occlusion+keypoints2d": "carriers[sharing=sum]",
        },
    ),
    "unlabelled": Study(
        SMALL,
        {
            SEGMENTS: "random,carriers,taught-carriers,taught-stripes,mtl-ue[embedding=0]",
            "segment_unsup2d": "carriers",
            "edge_texture": "carriers",
            "joint:segment_unsup2d+keypoints2d": "carriers[sharing=sum]",
        },
    ),
    "budget": Study(
        SMALL,
        {
            SEGMENTS: "random,carriers[eps=2/255],carriers[eps=4/255],carriers,carriers[eps=16/255],"
            "stripes[eps=2/255],stripes[eps=4/255],stripes",
            KNOWN: "carriers[eps=4/255,sharing=sum],carriers[sharing=sum],carriers[eps=16/255,sharing=sum]",
        },
    ),
    "tiles": Study(
        SMALL,
        {
            SEGMENTS: "random,stripes,carriers[tile=2],carriers,carriers[tile=8]",
            EDGES: "carriers[tile=2,sharing=sum],carriers[sharing=sum]",
        },
    ),
    "robust": Study(
        SMALL,
        {SEGMENTS: f"random,carriers,{ROBUST}"},
        tasks="segment_semantic,depth_euclidean",
        defenses="none,jpeg:75,gray,median,gaussian,cutout",
    ),
    "augmented": Study(
        SMALL,
        {
            SEGMENTS: "random,stripes,stripes[eps=16/255],taught-stripes,carriers[tile=2],carriers[tile=2,eps=16/255],"
            "carriers[tile=2,cell=2],carriers,carriers[mirrored=true],carriers[cell=2,mirrored=true],em[rounds=10]"
        },
        tasks="class_scene,segment_semantic,depth_euclidean",
        settings=AUGMENTED,
    ),
    "pressed": Study(
        SMALL,
        {
            SEGMENTS: "random,stripes,waves,carriers[tile=2,cell=4],carriers[tile=2,cell=4,colour=luma],"
            "carriers[tile=8,smooth=1,colour=luma],carriers[tile=2,cell=4,colour=luma,eps=16/255],em[rounds=10]"
        },
        tasks=SEGMENTS,
        defenses="none,jpeg:30,jpeg,resize,sharpen-dct",
    ),
    "layers": Study(
        "rooms[size=64,train=1500,test=500,seed=1]",
        {SEGMENTS: "woven,layered"},
        tasks=SEGMENTS,
        defenses="none,bdr,jpeg",
    ),
    "published": Study(
        SMALL,
        {SEGMENTS: "random,stripes", SCENE: PUBLISHED, KNOWN: "carriers[sharing=sum],em[rounds=10],mtl-ue"},
        tasks="class_scene,segment_semantic",
    ),
    "distance": Study(
        SMALL, FEW | {SCENE: "em"}, tasks="class_scene,segment_semantic,depth_euclidean", probe_images=128
    ),
    "judgement": Study(
        LARGE,
        {
            SEGMENTS: "random,stripes,stripes[eps=4/255],taught-stripes,waves,woven,layered",
            KNOWN: "carriers[sharing=sum],mtl-ue",
            SCENE: "em",
        },
        seeds="0-4",
    ),
    "everyday": Study(
        LARGE,
        {SEGMENTS: "random,stripes,taught-stripes,woven,layered"},
        tasks="class_scene,segment_semantic,depth_euclidean",
        settings=AUGMENTED,
    ),
    "longer": Study(
        "rooms[size=32,train=4000,test=500,seed=2]",
        {SEGMENTS: "random,stripes"},
        tasks="class_scene,segment_semantic,depth_euclidean",
        settings=("train.epochs=16",),
    ),
    "joint": Study(LARGE, FEW, tasks=KNOWN, models="resnet8[width=8],resnet18[width=16]"),
    "transformer": Study(LARGE, FEW, tasks=KNOWN, models="vit-small[width=64,depth=4,heads=4,patch=8]", settings=ADAM),
    "defended": Study(
        "rooms[size=32,train=1500,test=500,seed=2]",
        {SEGMENTS: "stripes,waves,woven,layered"},
        tasks="segment_semantic,depth_euclidean",
        defenses="none,gray,bdr,jpeg,resize,median,gaussian,cutmix,sharpen-dct,ueraser,early-stop,adaptive,at",
        settings=("held_out=200",),
    ),
    "compressed": Study(
        LARGE,
        {SEGMENTS: "stripes,waves,woven,layered,layered[eps=6/255]"},
        tasks=SEGMENTS,
        seeds="0-4",
        defenses="none,bdr,jpeg,resize,sharpen-dct",
    ),
    "camvid": Study(
        "camvid:{data}[height=32,width=48]",
        {SEGMENTS: "random,stripes,taught-stripes,em[rounds=10]"},
        tasks="segment_semantic,edge_texture,keypoints2d,colorization",
        seeds="0-4",
        settings=ROADS,
    ),
    "untouched": Study(
        LARGE, FEW | {SEGMENTS: "random,stripes,taught-stripes", SCENE: "em"}, tasks="normal,reshading", seeds="0-4"
    ),
}
