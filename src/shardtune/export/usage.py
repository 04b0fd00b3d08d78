"""How to run each file of an export: the part of the model card that people copy. The tests run it."""

from collections.abc import Sequence

_SHOW = """\
labels = open("labels.txt", encoding="utf-8").read().splitlines()
for number in probabilities.argsort()[::-1][:5]:
    print(labels[number], probabilities[number])"""
_UPRIGHT = 'picture = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")'
_CROP = f"""\
{_UPRIGHT}
left, top = int(picture.width * 0.0625), int(picture.height * 0.0625)
picture = picture.crop((left, top, picture.width - left, picture.height - top))
# Bilinear without antialiasing or rounding, as in training; Image.resize would smooth, and change probabilities.
how = ((SIZE, SIZE), Image.Transform.EXTENT, (0, 0, picture.width, picture.height), Image.Resampling.BILINEAR)
bands = [np.asarray(band.convert("F").transform(*how)) for band in picture.split()]
crops = np.stack(bands, axis=-1)[np.newaxis]  # float32 [n, SIZE, SIZE, 3], RGB, 0 to 255"""

_SAVED_MODEL = """\
**saved_model** needs only TensorFlow. Signature `serving_default`: a batch of JPEG or PNG files (string [n]); `images`: float32
[n, height, width, 3], whole RGB images in 0 to 255; `examples`: serialized tf.train.Examples with `image/encoded`. Each
gives `classes` and `probabilities` of the 5 most probable classes, or of all if there are fewer. Cropping, resizing and scaling
are inside.

```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
best = model.signatures["serving_default"](files=tf.constant([tf.io.read_file("photo.jpg").numpy()]))
for name, probability in zip(best["classes"][0].numpy(), best["probabilities"][0].numpy()):
    print(name.decode(), probability)
```

TensorFlow Serving, with saved_model as the folder `models/photos/1`:

```sh
tensorflow_model_server --rest_api_port=8501 --model_name=photos --model_base_path="$PWD/models/photos"
curl -d "{\\"instances\\": [{\\"b64\\": \\"$(base64 -w 0 photo.jpg)\\"}]}" localhost:8501/v1/models/photos:predict
```"""
_KERAS = f"""\
**model.keras** needs Keras, and takes crops: float32 [n, SIZE, SIZE, 3], RGB in 0 to 255. It can be trained further.

```python
import keras
import numpy as np
from PIL import Image, ImageOps

{_CROP}
probabilities = np.asarray(keras.models.load_model("model.keras")(crops))[0]
{_SHOW}
```"""
_ONNX = f"""\
**model.onnx** needs an ONNX runtime, and takes whole images of one size: float32 [n, height, width, 3], RGB in 0 to 255.
Cropping, resizing and scaling are inside.

```python
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

{_UPRIGHT}
images = np.asarray(picture, np.float32)[np.newaxis]
session = onnxruntime.InferenceSession("model.onnx")
probabilities = session.run(["probabilities"], {{"images": images}})[0][0]
{_SHOW}
```"""
_TFLITE = f"""\
**model.float32.tflite**, **model.float16.tflite** and **model.int8.tflite** need the LiteRT interpreter (`ai-edge-litert`).
They take crops: float32 [n, SIZE, SIZE, 3], RGB in 0 to 255; int8 too, which rounds inside.

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

{_CROP}
run = Interpreter("model.float32.tflite").get_signature_runner()
probabilities = run(crops=crops)["probabilities"][0]
{_SHOW}
```"""
_TEXTS = {"saved_model": _SAVED_MODEL, "model.keras": _KERAS, "model.onnx": _ONNX, "model.float32.tflite": _TFLITE}
LIMITS = [
    "- saved_model reads JPEG, PNG, BMP, the first frame of a GIF and, from TensorFlow 2.21 on, WebP that does not move; one "
    "file that it cannot read fails the whole batch. It knows no EXIF: turn pictures upright before "
    "(`ImageOps.exif_transpose` of Pillow). It drops transparency, where `shardtune build` shows it over white. A JPEG that "
    "is cut off below the central crop is read as if it were whole.",
    "- The other files take pixels, and know nothing of files. Pixels at the edge of the crop can differ a little from those "
    "of saved_model, which decodes only the crop of a JPEG; and another decoder or another way to resize changes "
    "probabilities, too.",
]


def render(names: Sequence[str], image_size: int) -> str:
    """How to run the files of these names."""
    return "\n\n".join(text for name, text in _TEXTS.items() if name in names).replace("SIZE", str(image_size))


def of_a_run(step: int, *, averaged: bool) -> str:
    """How to use the weights of a run after `step`."""
    weights = f"--checkpoint_dir . --checkpoint {step}{'' if averaged else ' --no_ema'}"
    return f"""\
In the directory of this card, with shardtune:

```sh
shardtune predict photo.jpg {weights}
shardtune export {weights} --output_directory ../export  # a SavedModel, for those who have only TensorFlow
```"""
