from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import howfar.spec.method as spec_module
from howfar.data import DATASETS
from howfar.defend import DEFENSES
from howfar.errors import UsageError
from howfar.models import MODELS
from howfar.protectors import PROTECTORS
from howfar.spec import parse
from howfar.spec.syntax import number_text, split_list, split_names
from howfar.tasks import TASKS


def test_settings_hold_defaults_and_given_values() -> None:
    spec = parse("lsp[eps=16/255]", PROTECTORS, "protector")
    assert spec.settings == {"eps": 16 / 255, "patch": 0, "share": 1.0}
    assert spec.label == "lsp[eps=16/255]"
    assert spec.build().eps == 16 / 255  # type: ignore[attr-defined]


def test_first_setting_may_follow_a_colon() -> None:
    assert parse("em:class", PROTECTORS, "protector").settings["granularity"] == "class"
    assert parse("em:class[eps=4/255]", PROTECTORS, "protector").label == "em:class[eps=4/255]"
    assert parse("jpeg:75", DEFENSES, "defense").settings == {"quality": 75}
    assert parse("folder:a/b[size=32]", DATASETS, "dataset").settings["root"] == "a/b"


def test_settings_may_nest() -> None:
    spec = parse("em[surrogate=resnet18[width=16],eps=4/255]", PROTECTORS, "protector")
    assert spec.settings["surrogate"] == "resnet18[width=16]"
    assert parse(spec.label, PROTECTORS, "protector").settings == spec.settings


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("lspp", "Did you mean 'lsp'?"),
        ("lsp[epps=1]", "Did you mean 'eps'?"),
        ("em[eps=0]", "above 0"),
        ("em[eps=2]", "it must be above 0 and at most 1; for 8 of 255 gray levels, write 8/255"),
        ("em[eps=8/0]", "write a number, such as 0.03 or 8/255"),
        ("em:sideways", "'sample' or 'class'"),
        ("clean:1", "takes no value"),
        ("em eps=1", "Write name"),
    ],
)
def test_errors_tell_the_fix(text: str, fix: str) -> None:
    with pytest.raises(UsageError, match="protector") as caught:
        parse(text, PROTECTORS, "protector")
    assert fix in str(caught.value)


def test_bad_settings_are_refused_in_python_too() -> None:
    with pytest.raises(UsageError, match="eps"):
        PROTECTORS["em"](eps=8.0)


def test_presets_fill_what_the_text_leaves_open() -> None:
    assert parse("lsp", PROTECTORS, "protector", eps=0.25).settings["eps"] == 0.25
    assert parse("lsp[eps=0.5]", PROTECTORS, "protector", eps=0.25).settings["eps"] == 0.5
    assert parse("ops", PROTECTORS, "protector", eps=0.25).settings == {"pixels": 1, "after": "clean", "share": 1.0}


def test_lists_split_outside_brackets() -> None:
    assert split_list("em, lsp[eps=6/255,patch=4] ,,ops") == ["em", "lsp[eps=6/255,patch=4]", "ops"]


@given(st.floats(min_value=1e-6, max_value=1))
def test_labels_lose_nothing(eps: float) -> None:
    spec = parse(f"em[eps={eps!r}]", PROTECTORS, "protector")
    assert parse(spec.label, PROTECTORS, "protector").settings["eps"] == eps


def test_numbers_read_as_people_write_them() -> None:
    assert [number_text(v) for v in (8 / 255, 0.1, 0.0, 1.0, True, 16)] == ["8/255", "0.1", "0", "1", "true", "16"]


def test_keys_change_with_settings_and_version() -> None:
    first, second = (parse(text, MODELS, "model").key() for text in ("resnet8", "resnet8[width=8]"))
    assert first["version"] == second["version"]
    assert first != second


def test_keys_hold_the_versions_of_methods_that_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of EM makes ``ops[after=em]`` anew, and a new version of a task every joint task with it."""
    from howfar.protectors import em
    from howfar.tasks import segmentation

    kinds: list[tuple[str, Any, Any, str]] = [
        ("ops[after=em:class]", PROTECTORS, em, "protector"),
        ("joint[tasks=class_scene+segment_semantic]", TASKS, segmentation, "task"),
    ]
    for text, table, module, kind in kinds:
        before = parse(text, table, kind).key()
        monkeypatch.setattr(module, "VERSION", 99)
        assert parse(text, table, kind).key() != before
    assert "nested" not in parse("ops", PROTECTORS, "protector").key()


def test_the_settings_of_a_factory_are_a_class_that_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    create = spec_module.create_model

    def counted(*arguments: Any, **settings: Any) -> Any:
        made.append(arguments)
        return create(*arguments, **settings)

    monkeypatch.setattr(spec_module, "create_model", counted)

    def method(*, width: int = 1) -> int:
        return width

    for width in range(5):
        spec = parse(f"method[width={width}]", {"method": method}, "model")
        assert spec.key()["width"] == spec.build() == width
    assert len(made) == 1


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("lsp:eps=8/255,share=0.5", "lsp[eps=8/255,share=0.5]"),
        ("em:class,eps=4/255", "em:class[eps=4/255]"),
        ("em:step-size=1/255", "em[step_size=1/255]"),
        ("em[step-size=1/255]", "em[step_size=1/255]"),
        ("lsp:paper", "lsp"),
        ("em:paper", "em[surrogate=resnet18,batch_size=512]"),
        ("em:class,paper,eps=4/255", "em:class[eps=4/255,surrogate=resnet18,batch_size=512]"),
        ('import:"Photos, 2024/n.npy",share=0.5', "import:Photos, 2024/n.npy[share=0.5]"),
        ("import:Photos, 2024/n.npy", "import:Photos, 2024/n.npy"),
        ("import:epoch=3.npy", "import:epoch=3.npy"),
    ],
)
def test_settings_may_follow_a_colon(text: str, label: str) -> None:
    assert parse(text, PROTECTORS, "protector").label == label


@pytest.mark.parametrize("text", ["lsp:epss=8/255", "lsp[epss=8/255]"])
def test_an_unknown_setting_is_named_with_all_that_there_are(text: str) -> None:
    says = "protector 'lsp' has no setting 'epss'. Did you mean 'eps'? Settings: eps, patch, share."
    with pytest.raises(UsageError) as error:
        parse(text, PROTECTORS, "protector")
    assert str(error.value) == says
    with pytest.raises(UsageError, match="It has no settings"):
        parse("digits:size=3", {"digits": lambda: None}, "dataset")


def test_a_setting_in_a_list_belongs_to_the_method_before_it() -> None:
    assert split_names("em,lsp:eps=6/255,share=0.5,ops") == ["em", "lsp:eps=6/255,share=0.5", "ops"]
    assert split_names("em[eps=1/255,steps=2],ops") == ["em[eps=1/255,steps=2]", "ops"]
    assert split_names("jpeg:75,none") == ["jpeg:75", "none"]
