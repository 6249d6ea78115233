"""Wrong configurations as a user types them: name -> command line, and what the one sentence must hold.

The sentence names the key, what was found, and what is allowed or nearest. `{place}` is a folder with photographs of
cats and dogs (`photos`), their data set (`datasets`), and a finished run of them (`run`).
"""

from __future__ import annotations

from wrong_place import Wrong, objective, requirement, train

COLOUR = "objective.attributes={colour:{levels:[red,blue]}}"

OBJECTIVES = {
    "a class that the data does not have": train("objective.classes=[cat,dgo]").says("classes", "'dgo'", "'dog'"),
    "a class more than the data has": train("objective.classes=[cat,dog,fox]").says("classes", "'fox'", "cat, dog"),
    "classes in words": objective("objective.classes=cat").says("objective.classes", "'cat'", "a list of names"),
    "classes as a mapping": objective("objective.classes={cat:1}").says("objective.classes", "a list of names"),
    "a class twice": objective("objective.classes=[cat,dog,cat]").says("objective.classes", "'cat'", "twice"),
    "an empty class": objective("objective.classes=[cat,'']").says("objective.classes", "''", "empty"),
    "one class": objective("objective.classes=[cat]").says("objective.classes", "found 1", "at least 2"),
    "a class that YAML reads as a number": objective("objective.classes=[1,2]").says(
        "classes", "1", 'quotes, such as "1"'
    ),
    "one class in two forms of Unicode": objective("objective.classes=['caf\u00e9','cafe\u0301']").says(
        "objective.classes", "caf\\xe9", "cafe\\u0301", "the same letters"
    ),
    "a line break in a class": objective("objective.classes=['a\nb',c]").says("classes", r"'a\nb'", "line break"),
    "a requirement without its attribute": requirement("metric:accuracy,scope:each_group", COLOUR).says(
        "requirements[0].attribute", "missing", "'each_group'", "colour"
    ),
    "an attribute that is not declared": requirement("metric:accuracy,scope:gap,attribute:color", COLOUR).says(
        "requirements[0].attribute", "'color'", "Did you mean 'colour'"
    ),
    "an attribute that the data does not have": train(COLOUR).says("objective.attributes", "'colour'", "no column"),
    "an unknown metric": requirement("metric:acuracy").says("[0].metric", "'acuracy'", "Did you mean 'accuracy'"),
    "an unknown scope": requirement("metric:accuracy,scope:grop").says("[0].scope", "'grop'", "each_group"),
    "an unknown stage": requirement("metric:accuracy,stages:[tset]").says("[0].stages", "Did you mean 'test'"),
    "a bound above one": requirement("metric:accuracy,bound:1.2").says("[0].bound", "1.2", "between 0 and 1"),
    "a bound below nought": requirement("metric:accuracy,bound:-0.1").says("[0].bound", "-0.1", "between 0 and 1"),
    "a bound in words": requirement("metric:accuracy,bound:'90%'").says("[0].bound", "'90%'", "a number"),
    "a bound that is no number": requirement("metric:accuracy,bound:nan").says("[0].bound", "nan", "between 0 and 1"),
    "contradictory requirements": objective(
        "objective.requirements=[{metric:accuracy,bound:0.9},{metric:accuracy,bound:0.8}]"
    ).says("requirements[1].bound", "at least 0.8 here", "at least 0.9 in requirements[0]", "keep one"),
    "a requirement twice": objective(
        "objective.requirements=[{metric:accuracy,bound:0.9},{metric:accuracy,bound:0.9}]"
    ).says("requirements[1]", "stated already in requirements[0]", "once"),
    "reliance without a cue": requirement("metric:reliance,bound:0.1").says("[0].cue", "missing", "colour"),
    "an unknown cue": requirement("metric:reliance,cue:color").says("[0].cue", "'color'", "Did you mean 'colour'"),
    "an unknown rival": requirement("metric:advantage,over:[majorty]").says("[0].over", "Did you mean 'majority'"),
    "an unknown key of a requirement": requirement("metric:accuracy,bond:0.9").says(
        "'objective.requirements[0].bond'", "Did you mean 'objective.requirements[0].bound'"
    ),
    "confidence out of range": objective("objective.confidence=95").says("confidence", "95", "between 0.5 and 1"),
    "a level twice": objective("objective.attributes={colour:{levels:[red,red]}}").says("colour.levels", "twice"),
    "no level": objective("objective.attributes={colour:{levels:[]}}").says("colour.levels", "empty", "from_data"),
    "an unknown primary metric": objective("objective.primary={metric:f1}").says("primary.metric", "'f1'", "accuracy"),
    "an unknown key of the objective": objective("objective.clases=[a]").says("Did you mean 'objective.classes'"),
}

KEYS = {
    "a misspelt option": train("optimizer=adam").says("optimizer", "'adam'", "Did you mean 'adamw'"),
    "a misspelt group": train("optimiser=adamw").says("'optimiser'", "Did you mean 'optimizer'"),
    "a misspelt key": train("sed=3").says("'sed'", "Did you mean 'seed'"),
    "a misspelt key below": train("trainer.max_epoch=3").says(
        "'trainer.max_epoch'", "Did you mean 'trainer.max_epochs'"
    ),
    "a misspelt key two below": train("trainer.checkpoint_every.minuts=3").says(
        "'trainer.checkpoint_every.minuts'", "Did you mean 'trainer.checkpoint_every.minutes'"
    ),
    "a key below a value": train("seed.x=3").says("seed", "{'x': 3}", "a whole number"),
    "text for a number": train("data.batch_size=many").says("data.batch_size", "'many'", "a whole number"),
    "a number for a section": train("trainer.checkpoint_every=5").says("checkpoint_every", "5", "minutes, steps"),
    "nothing for a name": train("objective.name=null").says("objective.name", "null", "text"),
    "a value that is needed": Wrong(("train", "experiment=folder")).says("data.root", "needed", "data.root=..."),
    "no experiment": Wrong(("train",)).says("experiment", "none given", "shapes"),
    "an interpolation of nothing": train("seed=${nothing}").says("seed", "'nothing'", "not found"),
    "an interpolation of itself": train("experiment_name=${experiment_name}").says("experiment_name", "Recursive"),
    "an interpolation left open": train("experiment_name=${seed").says("experiment_name=${seed", "key=value"),
    "a variable that is not set": train("seed=${oc.env:EVENSIGHT_NOT_SET}").says("seed", "EVENSIGHT_NOT_SET"),
    "several values without a sweep": train("seed=1,2").says("seed", "seed=1,2", "--multirun"),
    "a setting of Hydra's": train("hydra.run.dir=/elsewhere").says("hydra.run.dir", "--multirun"),
    "something to take away that is not there": train("~seed").says("~seed", "nothing to take away"),
    "an unknown flag": train("--cgf").says("option", "'--cgf'", "Did you mean '--cfg'"),
    "an unknown command": Wrong(("tran",)).says("command", "'tran'", "Did you mean 'train'"),
    "an experiment's name that leaves the folder": train("experiment_name=../x").says(
        "experiment_name", "'../x'", "'/'"
    ),
    "a data set's name that leaves the folder": train("data.name=../x").says("data.name", "'../x'"),
    "gate=maybe": train("gate=maybe").says("gate", "'maybe'", "off, strict"),
    "resume=maybe": train("resume=maybe").says("resume", "'maybe'", "auto, false, true"),
    "resume without a run": train("resume=true").says("resume=true", "run=<run folder>"),
    "a sweep that resumes": train("run=x", "resume=true", "--multirun").says("sweep", "--multirun"),
    "test=true of a sealed data set": train("data.sealed=true", "test=true").says(
        "test", "sealed", "evensight test run="
    ),
    "a sweep of nothing": Wrong(("train", "--multirun")).says("experiment", "none given"),
    "a sweep of objectives": objective("--multirun", "seed=1,2").says("--multirun", "objective", "train"),
    "a sweep that finds nothing": train("model=glob(zzz*)", "--multirun").says("model", "zzz*", "small_cnn"),
    "a sweep of a wrong value": train("seed=x", "--multirun").says("seed", "a whole number"),
    "a sweep by a wrong launcher": train("hydra/launcher=nothing", "--multirun").says(
        "--multirun", "hydra/launcher=nothing"
    ),
    "a sweep by a wrong sweeper": train("hydra.sweeper=3", "--multirun").says("--multirun"),
    "an unknown logger": train("logger=wanb").says("logger", "'wanb'", "Did you mean 'wandb'"),
    "an unknown reader": train("data.reader=foldr").says("data.reader", "'foldr'", "Did you mean 'folder'"),
    "a cue twice": train("reliance.cues=[colour,colour]").says("reliance.cues", "'colour'", "twice"),
}

VALUES = {
    "a batch of nought": train("data.batch_size=0").says("data.batch_size", "found 0", "at least 1"),
    "workers below nought": train("data.num_workers=-1").says("data.num_workers", "-1", "from 0 to 256"),
    "an image of nought": train("model.size=0").says("model.size", "found 0", "from 1 to 4096"),
    "a learning rate without end": train("optimizer.lr=inf").says("optimizer.lr", "inf", "at least 0"),
    "betas beyond one": train("optimizer.betas=[2,3]").says("optimizer.betas", "[2.0, 3.0]", "two numbers"),
    "epochs below nought": train("trainer.max_epochs=-3").says("trainer.max_epochs", "-3", "at least 1"),
    "no epoch": train("trainer.max_epochs=0").says("trainer.max_epochs", "found 0", "at least 1"),
    "epochs in words": train("trainer.max_epochs=many").says("trainer.max_epochs", "'many'", "a whole number"),
    "epochs without end for a schedule with one": train("trainer.max_epochs=-1").says(
        "schedule.name", "trainer.max_epochs"
    ),
    "nonsense for a precision": train("trainer.precision=17").says("trainer.precision", "found 17", "bf16-mixed"),
    "an unknown accelerator": train("trainer.accelerator=quantum").says("trainer.accelerator", "'quantum'", "cpu"),
    "no device": train("trainer.devices=0").says("trainer.devices", "found 0"),
    "more devices than a machine has": train("trainer.devices=999").says("trainer.devices", "found 999", "at most"),
    "an unknown strategy": train("trainer.strategy=nothing").says("trainer.strategy", "'nothing'"),
    "a share of the batches above one": train("trainer.limit_train_batches=1.5").says("limit_train_batches", "1.5"),
    "no batch": train("trainer.limit_train_batches=0").says("trainer.limit_train_batches", "found 0", "above 0"),
    "deterministic=perhaps": train("trainer.deterministic=perhaps").says("trainer.deterministic", "'perhaps'", "warn"),
    "a crop larger than the image": train("augment.crop_scale=[2,3]").says(
        "augment.crop_scale", "[2.0, 3.0]", "at most 1"
    ),
    "an unknown callback": train("callbacks.x={_target_:lightning.pytorch.callbacks.EarlyStoping}").says(
        "callbacks.x._target_", "Did you mean 'lightning.pytorch.callbacks.EarlyStopping'"
    ),
    "a target that is not allowed": train("callbacks.x={_target_:os.system,command:true}").says(
        "callbacks.x._target_", "'os.system'", "allow_targets=[os]"
    ),
    "a callback that is none": train("callbacks.x={_target_:torch.nn.Linear,in_features:1,out_features:2}").says(
        "callbacks.x._target_", "'torch.nn.Linear'", "a Lightning callback"
    ),
    "a callback without a target": train("callbacks.x=3").says("callbacks.x", "found 3", "_target_"),
    "a wrong argument of a callback": train(
        "callbacks.x={_target_:lightning.pytorch.callbacks.EarlyStopping,monitr:x}"
    ).says("callbacks.x", "'monitr'", "Did you mean 'monitor'"),
    "a missing argument of a callback": train("callbacks.x={_target_:lightning.pytorch.callbacks.EarlyStopping}").says(
        "callbacks.x", "EarlyStopping", "'monitor'"
    ),
    "a wrong argument of a transform": train("augment.transforms.f={_target_:albumentations.HorizontalFlip,q:1}").says(
        "augment.transforms.f", "'q'", "allowed: p"
    ),
    "a wrong value of a transform": train("augment.transforms.f={_target_:albumentations.HorizontalFlip,p:5}").says(
        "augment.transforms.f", "p=5", "less than or equal to 1"
    ),
    "a transform in words": train("augment.transforms.f=flip").says("augment.transforms.f", "'flip'", "a transform"),
    "an unknown optimizer": train("optimizer={_target_:torch.optim.RMSprob}").says("optimizer", "RMSprob"),
    "an unknown backbone of ours": train("model.backbone=smal_cnn").says("model.backbone", "Did you mean 'small_cnn'"),
    "an unknown backbone of timm": train("model.backbone=timm/resnet18x").says(
        "model.backbone", "'timm/resnet18x'", "Did you mean 'timm/resnet18'"
    ),
    "a backbone from nowhere": train("model.backbone=keras/vgg").says("model.backbone", "'keras/vgg'", "timm/<name>"),
    "a wrong argument of a backbone": train("model.kwargs={hiden:[3]}").says("model.kwargs", "hiden", "mlp"),
    "a deviation of nought": train("model.std=[0,1,1]").says("model.std", "[0.0, 1.0, 1.0]", "three numbers"),
    "published weights of a network of ours": train("model.pretrained=true").says(
        "model.pretrained", "checkpoint_path"
    ),
    "weights from two places": train("model.pretrained=true", "model.checkpoint_path=x").says("both", "only one"),
}
