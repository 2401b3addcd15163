"""How far is this data from being truly unlearnable?

The pipeline, with one package per stage::

    from howfar import DATASETS, MODELS, PROTECTORS, Recipe, arrays, build, sharpness, unlearnable_distance
    from howfar.tasks import classification
    from howfar.train import evaluate, train

    splits = DATASETS["digits"]()                                       # 1 files -> Data
    task = classification()(splits.train)
    protector = PROTECTORS["lsp"](eps=32 / 255)
    protected = protector.protect(splits.train, task, generator=arrays.seeded(0))   # 2 Data -> Data
    readings = {}
    for name, data in {"clean": splits.train, "lsp": protected}.items():
        model = build(MODELS["resnet8"](width=8), data.shape, task.outputs, generator=arrays.seeded(0))
        readings[name] = [sharpness(model, task, data.take(range(128)))          # 4 model -> readings
                          for _ in train(model, task, data, Recipe(epochs=8, crop=0, flip=False))]  # 3 Data -> model
        print(name, evaluate(model, task, splits.test))
    print(unlearnable_distance(readings["clean"], readings["lsp"]))     # 5 readings -> numbers
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # torch loads when work starts
