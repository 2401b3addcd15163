"""Step 1, files -> Data: one loader per file, all of them listed in ``DATASETS``."""

from howfar.data.camvid import camvid
from howfar.data.cifar import cifar10, cifar100
from howfar.data.clusters import clustered
from howfar.data.digits import digits
from howfar.data.folder import folder
from howfar.data.hf import hf
from howfar.data.idx import fashion_mnist, mnist
from howfar.data.inputs import Inputs, Pair
from howfar.data.memory_map import read_splits, write_splits
from howfar.data.npz import npz
from howfar.data.rooms import rooms
from howfar.data.subset import balanced, halves, held_back
from howfar.data.svhn import svhn
from howfar.data.taskonomy import taskonomy
from howfar.data.types import Data, Splits
from howfar.errors import UsageError
from howfar.spec import Spec, parse
from howfar.spec.table import Table

DATASETS: Table[Splits] = Table(
    "dataset",
    {
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
        "hf": hf,
    },
)


def source(text: str) -> Spec[Splits]:
    """Return a data set by name, for commands that take folders as well.

    Raises:
        UsageError: if it is neither a folder nor a data set, and as ``parse``.
    """
    if not text.partition(":")[0].partition("[")[0].strip():
        raise UsageError("no folder or data set was named. See howfar list datasets.")
    try:
        return parse(text, DATASETS, "dataset")
    except UsageError as error:
        if ":" in text or not str(error).startswith(("unknown dataset", f"'{text}' names no dataset")):
            raise
        raise UsageError(
            f"there is no folder '{text}', and no data set of that name. See howfar list datasets."
        ) from None


__all__ = [
    "DATASETS",
    "Data",
    "Inputs",
    "Pair",
    "Splits",
    "balanced",
    "clustered",
    "halves",
    "held_back",
    "read_splits",
    "source",
    "write_splits",
]
