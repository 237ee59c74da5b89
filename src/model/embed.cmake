# The arch documents travel inside the binary.
file(GLOB arch_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/arch/*.json)
sluice_embed(sluice_model embedded_arch.cpp sluice::model embedded_arch_files ${arch_files})
sluice_embed(sluice_model embedded_gguf_keys.cpp sluice::model embedded_gguf_key_files
             ${PROJECT_SOURCE_DIR}/src/model/gguf_keys.json)
sluice_embed(sluice_model embedded_shapes.cpp sluice::model embedded_shape_files
             ${PROJECT_SOURCE_DIR}/src/model/shapes.json)
