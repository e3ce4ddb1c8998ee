"""Frames and series of pandas, and tables of Arrow, as data: numpy arrays, Arrow's IPC format, and lists of objects.

Neither package is imported before a value of its own is there. A frame is kept column by column, since what Arrow makes
of it as a whole is not always the same frame: objects get other types, and so do some indexes.
"""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np

from seedcore.errors import InvalidValueError

# Types that every process with Arrow knows; others come back as what they are stored in, where nobody registered them.
FOREIGN_TYPE: Final = re.compile(r"extension<(?!arrow\.)[^>]*")
INDEXES: Final = frozenset(
    ("Index", "RangeIndex", "DatetimeIndex", "TimedeltaIndex", "PeriodIndex", "IntervalIndex", "CategoricalIndex")
)


def pandas() -> Any:
    """The package."""
    return import_module("pandas")


def pyarrow() -> Any:
    """The package."""
    return import_module("pyarrow")


# Arrow


def table_to_data(table: Any) -> Any:
    """An Arrow table, as a stream of Arrow's IPC format in an array of bytes."""
    for field in table.schema:
        if foreign := FOREIGN_TYPE.search(str(field.type)):
            raise InvalidValueError(
                f"cannot keep the column {field.name!r} of a pyarrow.Table: another process need not know its type "
                f"{foreign[0]}>"
            )
    return _streamed(table)


def table_from_data(data: Any) -> Any:
    """The Arrow table, which refers to the array."""
    table = pyarrow().ipc.open_stream(pyarrow().py_buffer(data)).read_all()
    table.validate(full=True)  # else what is no such table would be read beyond its end
    return table


def table_to_json(table: Any) -> Any:
    """Its columns' names, and its rows, each a list."""
    columns = [column.to_pylist() for column in table.columns]
    return {"columns": table.column_names, "data": [list(row) for row in zip(*columns, strict=True)]}


def _streamed(table: Any) -> Any:
    sink = pyarrow().BufferOutputStream()
    with pyarrow().ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return np.frombuffer(sink.getvalue(), np.uint8)


# Arrays of one type: a column, the values of an index, categories


def _array_to_data(array: Any) -> list[Any]:
    if type(array) is pandas().arrays.NumpyExtensionArray:
        array = array.to_numpy()
    dtype = array.dtype
    if isinstance(dtype, np.dtype):
        return ["objects", list(array)] if dtype.hasobject else ["numpy", np.asarray(array)]
    if isinstance(dtype, pandas().CategoricalDtype):
        return ["categories", array.codes, _index_to_data(dtype.categories), dtype.ordered]
    if isinstance(dtype, pandas().DatetimeTZDtype):
        return ["times", np.asarray(array.tz_convert(None)), dtype.tz]
    if isinstance(dtype, pandas().SparseDtype):
        raise InvalidValueError(f"cannot keep a column of the dtype {dtype} of pandas: keep a dense one")
    data = ["arrow", _dtype_to_data(dtype), _streamed(pyarrow().table({"": pyarrow().array(array)}))]
    back = _array_from_data(data)
    if back.dtype != dtype or not back.equals(array):
        raise InvalidValueError(f"cannot keep a column of the dtype {dtype} of pandas: Arrow brings back another one")
    return data


def _array_from_data(data: list[Any]) -> Any:
    kind, *parts = data
    return ARRAYS[kind](*parts)


def _objects(values: list[Any]) -> Any:
    array = np.empty(len(values), object)
    for place, value in enumerate(values):  # not as a whole, of which numpy would make further dimensions
        array[place] = value
    return array


def _categories(codes: Any, categories: list[Any], ordered: bool) -> Any:
    return pandas().Categorical.from_codes(codes, _index_from_data(categories), ordered)


def _times(utc: Any, zone: Any) -> Any:
    return pandas().DatetimeIndex(utc).tz_localize("UTC").tz_convert(zone).array


def _of_arrow(dtype: Any, stream: Any) -> Any:
    column = table_from_data(stream).column(0)
    return _dtype_from_data(dtype, column.type).__from_arrow__(column)


ARRAYS: Final[dict[str, Callable[..., Any]]] = {
    "objects": _objects,
    "numpy": lambda values: values,
    "categories": _categories,
    "times": _times,
    "arrow": _of_arrow,
}


def _dtype_to_data(dtype: Any) -> Any:
    if isinstance(dtype, pandas().StringDtype):
        return [dtype.storage, dtype.na_value]
    return None if isinstance(dtype, pandas().ArrowDtype) else str(dtype)


def _dtype_from_data(data: Any, arrow_type: Any) -> Any:
    if data is None:
        return pandas().ArrowDtype(arrow_type)
    return pandas().StringDtype(*data) if isinstance(data, list) else pandas().api.types.pandas_dtype(data)


# Indexes


def _index_to_data(index: Any) -> list[Any]:
    names = list(index.names)
    kind = type(index)
    if kind is pandas().RangeIndex:
        return ["range", [index.start, index.stop, index.step], names]
    if kind is pandas().MultiIndex:
        return [
            "levels",
            [_index_to_data(level) for level in index.levels],
            [np.asarray(one) for one in index.codes],
            names,
        ]
    if kind.__name__ not in INDEXES or getattr(pandas(), kind.__name__) is not kind:
        raise InvalidValueError(f"cannot keep an index of pandas of type {kind.__qualname__}")
    freq = getattr(index, "freq", None)
    if freq is not None and pandas().tseries.frequencies.to_offset(freq.freqstr) != freq:
        raise InvalidValueError(f"cannot keep an index of pandas whose frequency {freq!r} is more than its name")
    return ["values", _array_to_data(index.array), names, None if freq is None else freq.freqstr]


def _index_from_data(data: list[Any]) -> Any:
    kind, *parts = data
    return INDEX_KINDS[kind](*parts)


def _range(bounds: list[int], names: list[Any]) -> Any:
    return pandas().RangeIndex(*bounds, name=names[0])


def _levels(levels: list[Any], codes: list[Any], names: list[Any]) -> Any:
    return pandas().MultiIndex([_index_from_data(level) for level in levels], codes, names=names)


def _values(array: list[Any], names: list[Any], freq: str | None) -> Any:
    values = _array_from_data(array)
    index = pandas().Index(values, dtype=values.dtype, name=names[0])
    if freq is not None and hasattr(type(index), "inferred_freq"):
        index.freq = freq
    return index


INDEX_KINDS: Final[dict[str, Callable[..., Any]]] = {"range": _range, "levels": _levels, "values": _values}


# Frames and series


def frame_to_data(frame: Any) -> list[Any]:
    """A frame: its index, the index of its columns, the columns, and what was noted of it."""
    columns = [_array_to_data(frame.iloc[:, place].array) for place in range(frame.shape[1])]
    return [_index_to_data(frame.index), _index_to_data(frame.columns), columns, *_notes(frame)]


def frame_from_data(data: list[Any]) -> Any:
    """The frame, whose columns refer to the arrays where pandas allows it."""
    index, columns, arrays, *notes = data
    rows = _index_from_data(index)
    series = {place: _one_series(_array_from_data(array), rows) for place, array in enumerate(arrays)}
    frame = pandas().DataFrame(series, index=rows, copy=False)
    frame.columns = _index_from_data(columns)
    return _with_notes(frame, *notes)


def frame_to_json(frame: Any) -> Any:
    """Its columns, index and rows, each a list."""
    rows = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    return {"columns": frame.columns.tolist(), "index": frame.index.tolist(), "data": rows}


def series_to_data(series: Any) -> list[Any]:
    """A series: its index, its values, its name, and what was noted of it."""
    return [_index_to_data(series.index), _array_to_data(series.array), series.name, *_notes(series)]


def series_from_data(data: list[Any]) -> Any:
    """The series, which refers to the array where pandas allows it."""
    index, array, name, *notes = data
    series = _one_series(_array_from_data(array), _index_from_data(index))
    series.name = name
    return _with_notes(series, *notes)


def series_to_json(series: Any) -> Any:
    """Its index and its values, each a list, and its name."""
    shown = frame_to_json(series.to_frame())
    return {"name": series.name, "index": shown["index"], "data": [value for (value,) in shown["data"]]}


def _one_series(array: Any, index: Any) -> Any:
    return pandas().Series(array, index=index, dtype=array.dtype, copy=False)


def _notes(labelled: Any) -> list[Any]:
    return [dict(labelled.attrs), labelled.flags.allows_duplicate_labels]


def _with_notes(labelled: Any, attrs: dict[Any, Any], allows_duplicate_labels: bool) -> Any:
    labelled.attrs = attrs
    labelled.flags.allows_duplicate_labels = allows_duplicate_labels
    return labelled


# Scalars


def time_to_data(time: Any) -> list[Any]:
    """A `Timestamp`."""
    return [time.asm8, time.tzinfo]


def time_from_data(data: list[Any]) -> Any:
    """The `Timestamp`."""
    time, zone = pandas().Timestamp(data[0]), data[1]
    return time if zone is None else time.tz_localize("UTC").tz_convert(zone)


def timedelta_from_data(data: Any) -> Any:
    """The `Timedelta`."""
    return pandas().Timedelta(data)
