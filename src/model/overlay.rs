//! A folder that `preon quantise` wrote from a built-in model: the built-in network with the weights of the folder.

use super::config::Config;
use super::weights::Weights;
use super::{Input, Kind, Network, Prepared, built_in};
use crate::diag::Result;
use crate::graph::Def;
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// `model_type` of such a folder's `config.json`.
pub(super) const MODEL_TYPE: &str = "preon-builtin";

/// The `config.json` of a folder made from the built-in model `name`.
pub fn configuration(name: &str) -> String {
    format!("{:#}\n", serde_json::json!({ "model_type": MODEL_TYPE, "builtin": name }))
}

/// A built-in network and the tensors that replace its own.
pub(super) struct Overlay {
    network: Arc<dyn Network>,
    tensors: BTreeMap<String, Arc<Tensor>>,
}

impl Overlay {
    /// Reads `model.safetensors` of the folder, which has every constant of the network for its own sample.
    pub(super) fn load(folder: &Path, config: &Config) -> Result<Self> {
        let name = config.text("builtin")?;
        let (_, network) = built_in(name).map_err(|e| e.in_file(config.path()))?;
        let mut file = Weights::open(&folder.join("model.safetensors"))?;
        let mut tensors = BTreeMap::new();
        for value in network.prepare(&Input::Default)?.graph.values {
            let Def::Const(own) = &value.def else { continue };
            // Tables of positions and masks are there as they were; a mask has infinities, which no weight may have.
            let same = file.stored(&value.name).is_none() && file.bytes(&value.name)? == own.payload;
            if !same {
                tensors.insert(value.name.clone(), file.take(&value.name, &value.shape)?);
            }
        }
        Ok(Overlay { network, tensors })
    }
}

impl Network for Overlay {
    fn kind(&self) -> Kind {
        self.network.kind()
    }

    fn prepare(&self, input: &Input) -> Result<Prepared> {
        let mut prepared = self.network.prepare(input)?;
        for value in &mut prepared.graph.values {
            if let (Def::Const(own), Some(tensor)) = (&mut value.def, self.tensors.get(&value.name)) {
                (*own, value.ty) = (tensor.clone(), tensor.ty);
            }
        }
        Ok(prepared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::load;

    #[test]
    fn a_folder_without_its_builtin_or_weights_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let load = || load(folder.path().to_str().unwrap()).unwrap_err().to_string();
        std::fs::write(folder.path().join("config.json"), configuration("mlpp")).unwrap();
        assert!(load().contains("did you mean `builtin:mlp`?"), "{}", load());
        std::fs::write(folder.path().join("config.json"), configuration("mlp")).unwrap();
        assert!(load().contains("the file does not exist"), "{}", load());
    }
}
