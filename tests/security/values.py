"""What flags and places of the command line are tried with: right values, and wrong ones for all."""

from howfar.grid.presets import SUITES

# for any flag; the last is no text
WRONG = (
    "", "x", "-1", "0", "nan", "inf", "1e999", "8/0", "a,b", "[", "a[b=c", "é", "line\nbreak", "\x1b[31m", "../in",
    "/", "~", "99999999999999999999", "--", "@", "clean", "0.5", "3", "None", "\udcff",
)  # fmt: skip
GRIDS = ("bench", "ablate-ud", "trajectory", "landscape", "curvature")
TINY = {
    "--dataset": "npz:../in/t.npz", "--protectors": "lsp", "--models": "linear", "--defenses": "none",
    "--seeds": "0-1", "--epochs": "1", "--workers": "0",
}  # fmt: skip
SMALL = ("--set", "probe_images=4", "--set", "alignment_images=4", "--set", "held_out=0")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PLACES = {
    "photos": _words(
        "../in/photos ../in/photos ../in/photos ../in/plain ../in/plain out ../in nowhere ../in/notes.txt "
        "../in/many"
    ),
    "protected": ("../in/hidden", "out", "../in/many", "nowhere"),
    "suspect": _words(
        "../in/plain ../in/plain ../in/t.npz ../in/u.npz ../in/u.npz ../in/hidden ../in/photos nowhere mnist"
    ),
    "folder": _words(
        "../in/set ../in/set ../in/set ../in/set ../in/rows/ROW ../in/exported nowhere ../in/t.npz runs"
    ),
    "stores": _words(
        "runs runs runs runs runs runs runs other other ../in/packed.jsonl.xz nowhere ../in ../in/rows memory://x "
        "file:///nowhere no://x"
    ),
    "output": _words(
        "new new new new/deep new2 out runs . ../in/photos ../bystanders ../in/notes.txt /dev/null new.npz "
        "../in/set ../in/exported new.csv new.json new.parquet page.html"
    ),
}  # fmt: skip
CHEAP = _words(
    "lsp random random:class ops clean ar cuda carriers stripes waves layered woven import:../in/noise.npy "
    "em[rounds=1,steps=1] lsp[share=0.5] pil[steps=1,epochs=1] em:class[rounds=1,steps=1] "
    "tap[steps=1,epochs=1,surrogate=linear] ntga[steps=1,layers=1,block=8,validation=8] lsp[eps=128/255]"
)
QUICK = _words(
    "none gray bdr jpeg:50 gaussian median resize cutout cutmix mixup none,gray early-stop gray+cutout "
    "orthogonal-projection coin randaugment"
)
VALUES: dict[str, tuple[str, ...]] = {
    "--dataset": _words(
        "npz:../in/t.npz npz:../in/u.npz folder:../in/plain[size=8] folder:../in/photos digits[size=8] "
        "rooms[size=16,train=24,test=12] mnist cifar10 npz:nowhere.npz camvid:../in/t.npz"
    ),
    "--data-root": ("../in/t.npz", "../in/photos", "nowhere"),
    "--limit-train": ("all", "16", "4", "2"),
    "--limit-test": ("all", "8", "2"),
    "--seeds": ("0", "0-1", "0,3", "0-2", "2-1"),
    "--epochs": ("1", "2"),
    "--eps": ("8/255", "16/255", "0.1"),
    "--recipe": ("own", "sgd", "fast", "adamw", "dense", "paper"),
    "--suite": (*SUITES, "two-tasks"),
    "--config": ("../in/suite.toml", "../in/notes.txt", "nowhere.toml"),
    "--device": ("auto", "cpu", "cuda", "mps"),
    "--workers": ("0",),
    "--ray": ("auto", "nowhere:1"),
    "--time-limit": ("90s", "1m", "0.001s", "2h"),
    "--runs": PLACES["stores"],
    "--track": ("tensorboard:logs", "tensorboard", "nowhere:x"),
    "--until": ("±5", "off", "20"),
    "--tasks": ("classification", "rotation", "autoencoding"),
    "--source-tasks": ("classification", "rotation"),
    "--source-task": ("classification", "rotation", "denoising"),
    "--strength": ("low", "mid", "high"),
    "--key": ("secret",),
    "--label": ("ann",),
    "--preview": ("preview.html", "../in/photos"),
    "--pretrain": ("digits", "../in/photos", "nowhere"),
    "--side": ("8", "8,16", "64,128,224"),
    "--format": ("auto", "png", "webp", "tiff", "jpeg:95"),
    "--labels": ("../in/labels.csv", "clusters", "nowhere.csv", "../in/notes.txt"),
    "--share": ("0.5", "1", "0.2"),
    "--metadata": ("keep", "strip-gps", "strip-all"),
    "--broken": ("stop", "skip", "copy"),
    "--seed": ("0", "7"),
    "--size": ("16", "32", "8"),
    "--model": ("linear", "lenet5"),
    "--defense": ("none", "gray"),
    "--ways": ("as-is", "as-is,jpeg-75"),
    "--shares": ("0.5", "0.2,0.5", ""),
    "--require": ("drop>=30", "kept<=50", "clean", "protected"),
    "--jpeg": ("90", "1", "100"),
    "--reference": ("../in/plain", "../in/t.npz", "../in/photos"),
    "--clean": ("../in/t.npz", "npz:../in/t.npz", "../in/plain"),
    "--poisoned": ("npz:../in/t.npz", "../in/plain"),
    "--confidence": ("0.95", "0.5"),
    "--only": ("lsp", "lsp,clean", "random"),
    "--reported": ("0.2", "20"),
    "--source": ("a paper, 2024",),
    "--against": ("clean", "lsp", "random"),
    "--html": ("site", "runs", "../in/photos"),
    "--radius": ("0.1", "0.01,0.2"),
    "--steps": ("1", "1,2", "victim", "protect,victim"),
    "--modes": ("exact", "", "fast,exact"),
    "--images": ("4", "8"),
    "--orders": ("2", "3"),
    "--every": ("0", "1"),
    "--rate": ("0.05", "0.5"),
    "--points": ("3", "5"),
    "--extent": ("0.3", "1"),
    "--plane": ("pca", "random", "line", "curve", "hessian", "weights"),
    "--norms": ("re-estimated", "frozen"),
    "--draws": ("1", "2"),
    "--layer": ("head.weight", "x"),
    "--weights": ("head.weight:0,head.weight:1", "x:0,y:1"),
    "--save": ("figure.svg", "figure.png", "figure.pdf", "figure.gif", "../in/photos/a/0.png"),
    "--top": ("1", "2"),
    "--output": PLACES["output"],
    "--protectors": CHEAP,
    "--protector": CHEAP,
    "--models": ("linear", "lenet5"),
    "--defenses": QUICK,
}  # fmt: skip
POSITIONS = {
    "protect": ("photos",),
    "verify": ("photos", "protected"),
    "audit": ("suspect",),
    "validate": ("folder",),
    "export": ("folder",),
    "leaderboard": ("stores",),
    "submit": ("stores",),
    "verify-row": ("folder",),
    "report": ("stores",),
    "store check": ("stores",),
    "store gc": ("stores",),
    "store pack": ("stores",),
    "store export": ("output",),
    "store import": ("stores",),
    "compare": ("stores", "stores"),
}  # fmt: skip
WEIGHTS = {  # of commands in what is drawn
    "bench": 14, "protect": 10, "verify": 2, "audit": 0.8, "ud": 6, "ablate-ud": 2, "trajectory": 2,
    "landscape": 2.5, "curvature": 2, "generate": 8, "validate": 7, "export": 5, "list": 1, "show": 3, "doctor": 1,
    "leaderboard": 7, "submit": 5, "verify-row": 1, "report": 4, "store check": 5, "store gc": 4, "store export": 4,
    "store import": 4, "store pack": 4, "compare": 4,
}  # fmt: skip
NEEDED = {
    "generate": ("--protector", "--output"),
    "export": ("--output",),
    "protect": ("--output",),
}  # fmt: skip
DRY = {
    **dict.fromkeys(GRIDS, 0.85),
    "verify": 0.97,
    "protect": 0.3,
    "generate": 0.4,
    "store gc": 0.3,
    "store pack": 0.2,
    "submit": 0.3,
    "verify-row": 0.9,
}
