"""What is read from the source of diffusers is what its classes say."""

import diffusers

from batch.catalogue import families, precision, scheduler_names, signatures
from batch.render import assembly


def test_the_source_says_what_the_classes_say():
    import inspect

    for name, family in families.PIPELINE_FAMILY.items():
        call = inspect.signature(assembly.kind_of(name).__call__).parameters
        read = signatures.pipeline_call(name)
        assert [key for key in call if key not in ("self", "kwargs")] == list(read)
        assert all(call[key].default == value for key, value in read.items() if value is not signatures.COMPUTED)
        extra = families.FAMILIES[family].extra
        assert {key for key in extra if extra[key] != "pag"} <= set(read)
    for name in set(scheduler_names.SCHEDULERS.values()):
        if name != "LMSDiscreteScheduler":  # needs scipy
            parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
            assert set(signatures.scheduler_settings(name)) == set(parameters) - {"self"}
    assert {"FluxPipeline", "ZImagePipeline"} <= signatures.text_to_image()


def test_settings_of_a_pipeline_are_no_components():
    assert precision.components("Krea2Pipeline") == ["vae", "text_encoder", "transformer"]
    assert precision.components("QwenImage21Pipeline") == ["vae", "text_encoder", "transformer"]
