"""Step 1, files -> Data: one loader a file, all of them named in ``DATASETS``."""

from collections.abc import Callable

from howfar.data.camvid import camvid
from howfar.data.cifar import cifar10, cifar100
from howfar.data.clusters import clustered
from howfar.data.digits import digits
from howfar.data.folder import folder
from howfar.data.idx import fashion_mnist, mnist
from howfar.data.npz import npz
from howfar.data.rooms import rooms
from howfar.data.shelf import read_splits, write_splits
from howfar.data.subset import balanced, halves, held_back
from howfar.data.svhn import svhn
from howfar.data.taskonomy import taskonomy
from howfar.data.types import Data, Splits

DATASETS: dict[str, Callable[..., Splits]] = {
    "digits": digits,
    "rooms": rooms,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "svhn": svhn,
    "camvid": camvid,
    "taskonomy": taskonomy,
    "folder": folder,
    "npz": npz,
}

__all__ = ["DATASETS", "Data", "Splits", "balanced", "clustered", "halves", "held_back", "read_splits", "write_splits"]
