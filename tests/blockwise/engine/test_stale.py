"""Finished blocks are kept as long as nothing changed that they depend on; a run says which do not fit, and why."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.arrays.volume import open_array
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.errors import BadInput, Stale
from blockwise.executor import InProcess
from tests.faults.planned import INTERRUPT, plan
from tests.support.lines import BLOCKS, expected, key_of, line, one, smear, voxels
from tests.support.toys import Idle, Smear


def test_changed_settings_make_blocks_stale(source, store, executor):
    """The run stops before anything is written, and says what changed; with --redo it makes all anew."""
    run_stages(line(source), store, executor)
    before = voxels(smear(source).target)
    with pytest.raises(Stale, match=r"smear\.factor was 1, is now 2.*--redo smear"):
        run_stages(line(source, factor=2), store, executor)
    assert np.array_equal(voxels(smear(source).target), before)
    results = run_stages(line(source, factor=2), store, executor, RunOptions(redo="smear"))
    assert [result.blocks_done for result in results] == [BLOCKS, BLOCKS]
    assert np.array_equal(voxels(smear(source).target), expected(source, 2))


def test_half_a_stage_with_other_settings_is_stale_too(source, store, tmp_path):
    """Blocks of an interrupted run are not mixed with those of other settings."""
    faults = plan(tmp_path / "plan", {key_of(smear(source), 9): [INTERRUPT]})
    with InProcess(store) as executor:
        with pytest.raises(KeyboardInterrupt):
            run_stages([smear(source, faults=faults)], store, executor)
        assert 0 < store.totals("smear").done < BLOCKS
        with pytest.raises(Stale):
            run_stages([smear(source, factor=3)], store, executor)


def test_redo_of_a_later_stage_leaves_the_earlier(source, store, executor):
    """Only the stage and what follows is made anew."""
    run_stages(line(source), store, executor)
    results = run_stages(line(source), store, executor, RunOptions(redo="count"))
    assert [result.blocks_done for result in results] == [0, BLOCKS]


def test_redo_of_an_earlier_stage_forgets_what_was_made_from_it(source, store, executor):
    """Also if the later stages are not part of this run."""
    run_stages(line(source), store, executor)
    run_stages(line(source)[:1], store, executor, RunOptions(redo="smear"))
    assert store.totals("count").done == 0


def test_changed_code_makes_blocks_stale(source, store, executor, monkeypatch):
    """A stage with another version asks to be redone."""
    run_stages([smear(source)], store, executor)
    monkeypatch.setattr(Smear, "version", 2)
    with pytest.raises(Stale, match="code version was 1, is now 2"):
        run_stages([smear(source)], store, executor)


def test_changed_input_makes_blocks_stale(source, store, executor):
    """An input whose metadata was written again is another input."""
    run_stages([smear(source)], store, executor)
    open_array(source, "r+").attrs["note"] = "another"
    with pytest.raises(Stale, match=r"input 0 \(raw\) changed"):
        run_stages([smear(source)], store, executor)


def test_a_later_part_of_the_line_goes_on_from_the_earlier(source, store, executor):
    """`before` is checked, not run; without it the store's word is taken."""
    stages = line(source)
    with pytest.raises(BadInput, match="smear: is not finished"):
        run_stages(stages[1:], store, executor, RunOptions(before=stages[:1]))
    run_stages(stages[:1], store, executor)
    assert one(run_stages(stages[1:], store, executor, RunOptions(before=stages[:1]))).blocks_done == BLOCKS
    assert one(run_stages(stages[1:], store, executor)).blocks_skipped == BLOCKS
    assert [result.blocks_skipped for result in run_stages(stages, store, executor)] == [BLOCKS, BLOCKS]
    with pytest.raises(Stale, match="smear"):
        run_stages(stages[1:], store, executor, RunOptions(before=[smear(source, factor=2)]))


def test_a_lost_output_is_noticed(source, store, executor):
    """Blocks marked as done whose array is gone would be silent holes."""
    run_stages([smear(source)], store, executor)
    target = smear(source).target.path
    target.rename(target.with_name("elsewhere"))
    with pytest.raises(BadInput, match="is gone, but 18 blocks of smear are marked as done"):
        run_stages([smear(source)], store, executor)
    assert one(run_stages([smear(source)], store, executor, RunOptions(redo="smear"))).blocks_done == BLOCKS


@pytest.mark.parametrize("redo", ["nosuch", "predict"])
def test_an_unknown_stage_to_redo_is_refused(source, store, executor, redo):
    """In one line, and nothing is written."""
    with pytest.raises(BadInput, match="no such stage"):
        run_stages(line(source), store, executor, RunOptions(redo=redo))
    assert store.stages() == []


def test_redo_makes_anew_only_what_depends_on_the_stage(source, store):
    """A later stage that needs something else is left alone, one that needs this stage by way of another is not."""

    class Beside(Idle):
        name = "beside"
        needs = ("smear",)

    class After(Idle):
        name = "after"
        needs = ("count",)

    class Last(Idle):
        name = "last"
        needs = ("after",)

    stages = [*line(source), Beside(blocks=2), After(blocks=2), Last(blocks=2)]
    with InProcess(store) as inside:
        run_stages(stages, store, inside)
        done = {one.name: one.blocks_done for one in run_stages(stages, store, inside, RunOptions(redo="count"))}
    assert done == {"smear": 0, "count": BLOCKS, "beside": 0, "after": 2, "last": 2}


def test_a_changed_stage_makes_what_was_made_from_it_stale_and_names_both(source, store, executor):
    """If only the later stage is run, the run says that the one before has changed, not the stage itself."""
    run_stages(line(source), store, executor)
    run_stages(line(source, factor=2)[:1], store, executor, RunOptions(redo="smear"))
    run_stages([line(source, factor=2)[1]], store, executor)
    run_stages(line(source, factor=3)[:1], store, executor, RunOptions(redo="smear"))
    assert store.totals("count").done == 0


def test_another_block_shape_makes_blocks_stale(source, store, executor):
    """Blocks are named by their place in the grid, so those of another one fit nowhere."""
    run_stages([smear(source)], store, executor)
    with pytest.raises(Stale, match=r"block shape was \[4, 4, 4\], is now \[8, 4, 4\]"):
        run_stages([smear(source, block=(8, 4, 4))], store, executor)


def test_input_written_again_with_other_voxels_is_noticed_by_its_identity(source, store, executor):
    """An import gives each array an identity of its content: another one is another input, a new date is not."""
    open_array(source, "r+").attrs["identity"] = "one"
    run_stages([smear(source)], store, executor)
    open_array(source, "r+").attrs["identity"] = "one"
    assert one(run_stages([smear(source)], store, executor)).blocks_skipped == BLOCKS
    open_array(source, "r+").attrs["identity"] = "another"
    with pytest.raises(Stale, match=r"input 0 \(raw\) changed"):
        run_stages([smear(source)], store, executor)
