// All endpoints, one file each. To add one: its function here and a line in router.cpp's table.
#pragma once

#include "serve/app.h"

namespace sluice::serve {

Reply chat_completions(App& app, HttpRequest& request);
Reply render_chat(App& app, HttpRequest& request);
Reply responses(App& app, HttpRequest& request);
Reply completions(App& app, HttpRequest& request);
Reply embeddings(App& app, HttpRequest& request);
Reply list_models(App& app, HttpRequest& request);
Reply show_model(App& app, HttpRequest& request);
Reply tokenize(App& app, HttpRequest& request);
Reply detokenize(App& app, HttpRequest& request);
Reply tokenizer_info(App& app, HttpRequest& request);
Reply health(App& app, HttpRequest& request);
Reply health_generate(App& app, HttpRequest& request);
Reply livez(App& app, HttpRequest& request);
Reply readyz(App& app, HttpRequest& request);
Reply version(App& app, HttpRequest& request);
Reply metrics(App& app, HttpRequest& request);
Reply openapi(App& app, HttpRequest& request);
Reply page(App& app, HttpRequest& request);

}  // namespace sluice::serve
