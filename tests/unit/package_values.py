"""Values of packages that a user may have: pandas, pyarrow and torch. Each is made where its package is."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from typing import Any, Final

import numpy as np


def pd() -> Any:
    return import_module("pandas")


def pa() -> Any:
    return import_module("pyarrow")


def torch() -> Any:
    return import_module("torch")


def _noted() -> Any:
    frame = pd().DataFrame({"x": [1]})
    frame.attrs = {"unit": ("m", 1)}
    frame.flags.allows_duplicate_labels = False
    return frame


def _columns() -> dict[str, Any]:
    pandas, arrow, days = pd(), pa(), pd().date_range("2026-10-24", periods=3)
    return {
        "int": np.array([1, 2, 3], "u1"),
        "float": [1.5, np.nan, -0.0],
        "complex": [1j, 2, 3],
        "bool": [True, False, True],
        "str": ["a", "b", None],
        "string": pandas.array(["a", None, "b"], dtype="string"),
        "python string": pandas.array(["a", None, "b"], dtype=pandas.StringDtype("python")),
        "category": pandas.Categorical(["x", "y", None], categories=["y", "x", "z"], ordered=True),
        "times": days,
        "seconds": np.array([1, 2, 3], "M8[s]"),
        "zone": days.tz_localize("Europe/Berlin"),
        "offset": days.tz_localize(dt.timezone(dt.timedelta(hours=2))),
        "timedelta": pandas.to_timedelta([1, 2, 3], unit="s"),
        "Int8": pandas.array([1, None, 3], dtype="Int8"),
        "boolean": pandas.array([True, None, False], dtype="boolean"),
        "period": pandas.period_range("2026-01", periods=3, freq="M"),
        "interval": pandas.interval_range(0, 3),
        "arrow": pandas.Series([[1], None, [2]], dtype=pandas.ArrowDtype(arrow.list_(arrow.int64()))),
        "objects": pandas.Series([1, "a", None], dtype=object),
        "texts": pandas.Series(["a", "b", "c"], dtype=object),
        "Decimal": pandas.Series([Decimal("1.10"), Decimal("1"), None], dtype=object),
        "lists": pandas.Series([[1], [2, 3], []], dtype=object),
        "dates": pandas.Series([dt.date(2026, 1, 1)] * 3, dtype=object),
        "missing": pandas.Series([pandas.NA, pandas.NaT, None], dtype=object),
        "scalars": pandas.Series([pandas.Timestamp("2026", tz="UTC"), pandas.Timedelta("1ns"), True], dtype=object),
    }


FRAMES: Final[dict[str, Callable[[], Any]]] = {
    "frame": lambda: pd().DataFrame({name: pd().Series(column) for name, column in _columns().items()}),
    "series": lambda: [pd().Series(column, name=(name, 1)) for name, column in _columns().items()],
    "large frame": lambda: pd().DataFrame({"x": np.arange(100_000), "y": ["text"] * 100_000}),
    "part of a frame": lambda: pd().DataFrame({"a": range(10), "b": list("abcdefghij")})[1::3],
    "empty": lambda: [pd().DataFrame(), pd().DataFrame({"a": [1]}).iloc[:0], pd().DataFrame(index=[1, 2])],
    "columns of one name": lambda: pd().DataFrame([[1, "a"]], columns=["a", "a"]),
    "columns of several types": lambda: pd().DataFrame([[1, 2, 3]], columns=[0, "0", None]),
    "levels": lambda: pd().DataFrame(
        np.ones((4, 2)),
        index=pd().MultiIndex.from_product([["a", "b"], pd().date_range("2026", periods=2)], names=["k", ("t", 1)]),
        columns=pd().MultiIndex.from_tuples([("a", 1), ("b", 2)]),
    ),
    "indexes": lambda: [
        pd().Series(range(3), index=index)
        for index in (
            pd().RangeIndex(4, 10, 2, name="r"),
            pd().bdate_range("2026-01-01", periods=3, tz="Europe/Berlin"),
            pd().timedelta_range("1s", periods=3),
            pd().period_range("2026", periods=3),
            pd().CategoricalIndex(["a", "b", "a"]),
            pd().interval_range(0, 3),
            pd().Index([1, "a", None], dtype=object),
        )
    ],
    "notes": _noted,
    "scalars": lambda: [
        pd().Timestamp("2026-10-25 00:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd().Timestamp(1, unit="ns"),
        pd().Timedelta("1D").as_unit("s"),
        pd().NaT,
        pd().NA,
    ],
}

TABLES: Final[dict[str, Callable[[], Any]]] = {
    "table": lambda: pa().table({"a": [1, None], "b": [{"x": ["y"]}, None]}).replace_schema_metadata({"k": "v"}),
    "chunks": lambda: pa().concat_tables([pa().table({"a": [1]}), pa().table({"a": [2]})]),
    "dictionary": lambda: pa().table({"a": pa().array(["a", "b", "a"]).dictionary_encode()}),
    "columns of one name": lambda: pa().Table.from_arrays([pa().array([1]), pa().array([2])], names=["a", "a"]),
    "part": lambda: pa().table({"a": range(100)}).slice(10, 5),
    "large": lambda: pa().table({"a": np.arange(100_000)}),
    "empty": lambda: [pa().table({}), pa().table({"a": pa().array([], pa().int8())})],
}

TENSORS: Final[dict[str, Callable[[], Any]]] = {
    "types": lambda: [
        torch().tensor([[0, 1]]).to(getattr(torch(), name))
        for name in ("float32", "float16", "bfloat16", "float8_e4m3fn", "int8", "int64", "uint16", "bool", "complex64")
    ],
    "shapes": lambda: [
        torch().tensor(1.5),
        torch().zeros(0, 3),
        torch().arange(6).reshape(2, 3).T,
        torch().ones(1)[::2],
    ],
    "views": lambda: [torch().tensor([1 + 2j]).conj(), torch().tensor([1 + 2j]).conj().imag],
    "large": lambda: {"weights": torch().arange(100_000)},
}


def same_of_packages(left: Any, right: Any) -> bool | None:
    """Whether a value of a package is the other one; None if both are none, nor a list or dict of such."""
    if type(left) is not type(right):
        return None
    match left:
        case list() | dict() if left:
            pairs = (
                zip(left, right, strict=True) if isinstance(left, list) else [(left[key], right[key]) for key in left]
            )
            answers = [same_of_packages(one, other) for one, other in pairs]
            return None if None in answers else all(answers)
    package = type(left).__module__.partition(".")[0]
    compare = SAME.get(package)
    return None if compare is None else compare(left, right)


def _same_of_pandas(left: Any, right: Any) -> bool:
    if isinstance(left, pd().Series):
        left, right = left.to_frame(), right.to_frame()
    if not isinstance(left, pd().DataFrame):
        return repr(left) == repr(right) and getattr(left, "unit", None) == getattr(right, "unit", None)
    exactly: Any = {"check_exact": True, "check_index_type": "exact", "check_column_type": "exact"}
    pd().testing.assert_frame_equal(left, right, check_freq=True, check_flags=True, **exactly)
    objects = [place for place, dtype in enumerate(left.dtypes) if dtype.kind == "O" and isinstance(dtype, np.dtype)]
    return bool(
        repr((left.attrs, left.index, left.columns, list(left.dtypes)))
        == repr((right.attrs, right.index, right.columns, list(right.dtypes)))
        and all(repr(list(left.iloc[:, place])) == repr(list(right.iloc[:, place])) for place in objects)
    )


def _same_of_pyarrow(left: Any, right: Any) -> bool:
    return bool(left.equals(right, check_metadata=True) and left.schema.equals(right.schema, check_metadata=True))


def _same_of_torch(left: Any, right: Any) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return (
        all(str(one) == str(other) for one, other in zip(left.flatten(), right.flatten(), strict=True))
        if (left.numel() < 1000)
        else bool(torch().equal(left, right))
    )


SAME: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "pandas": _same_of_pandas,
    "pyarrow": _same_of_pyarrow,
    "torch": _same_of_torch,
}
