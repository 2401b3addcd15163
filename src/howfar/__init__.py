"""How far is this data from being truly unlearnable?

The pipeline, with one package per stage::

    from howfar import DATASETS, MODELS, PROTECTORS, Recipe, build, evaluate, sharpness, train, unlearnable_distance

    splits = DATASETS["digits"]()                                       # 1 files -> Data
    protected = PROTECTORS["lsp"](eps=32 / 255).protect(splits.train)   # 2 Data -> Data
    readings = {}
    for name, data in {"clean": splits.train, "lsp": protected}.items():
        model = build(MODELS["resnet8"](width=8), data.shape, outputs=10)
        training = train(model, data, recipe=Recipe(epochs=8, crop=0, flip=False))         # 3 Data -> model
        readings[name] = [sharpness(model, data.take(range(128))) for epoch in training]   # 4 model -> readings
        print(name, evaluate(model, splits.test))
    print(unlearnable_distance(readings["clean"], readings["lsp"]))     # 5 readings -> numbers
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # torch loads when work starts
