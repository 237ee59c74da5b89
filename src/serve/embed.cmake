# The built-in page and the API's description travel inside the binary.
file(GLOB page_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/serve/page/*)
sluice_embed(sluice_serve embedded_page.cpp sluice::serve embedded_page_files ${page_files})
sluice_embed(sluice_serve embedded_openapi.cpp sluice::serve embedded_openapi_files
             ${PROJECT_SOURCE_DIR}/src/serve/openapi.json)
