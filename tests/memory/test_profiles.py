"""Memory settings as steps."""

from batch.manifest.values import Size
from batch.memory import profiles


def test_auto_tiling_is_a_function_of_the_size():
    assert profiles.resolve("auto", Size(1024, 1024)) == ()
    assert profiles.resolve("auto", Size(5376, 3072)) == profiles.resolve("tiled", Size(5376, 3072))
    assert profiles.pixel_steps(profiles.resolve("tiled", Size(512, 512)), Size(512, 512)) == ()


def test_memory_steps_are_those_that_render_carries_out():
    from batch.memory import steps
    from batch.memory.steps import ELSEWHERE
    from batch.render.memory import STEPS

    assert set(steps.STEPS) == set(STEPS) | ELSEWHERE
    assert not ELSEWHERE & set(STEPS)
