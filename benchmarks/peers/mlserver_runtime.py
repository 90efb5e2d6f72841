"""MLServer: a custom runtime, since `mlserver-lightgbm` cannot be told the number of threads."""

import lightgbm
from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec, NumpyRequestCodec


class Bench(MLModel):
    async def load(self) -> bool:
        self._booster = lightgbm.Booster(model_file=self.settings.parameters.uri)
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        matrix = self.decode_request(payload, default_codec=NumpyRequestCodec)
        predictions = self._booster.predict(matrix, num_threads=1)
        output = NumpyCodec.encode_output(name="predict", payload=predictions)
        return types.InferenceResponse(model_name=self.name, outputs=[output])
