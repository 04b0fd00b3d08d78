"""horovodrun, without its question what Horovod was built for: to answer it, each start imports TensorFlow once more."""

from horovod.runner import launch

if __name__ == "__main__":
    launch.gloo_built = lambda **_: True
    launch.run_commandline()
