// What is going on in the cluster: events, whether somebody uses it, which cluster it is.
#include <chrono>

#include "gateway/state_routes.h"

namespace narke::gateway {

static double epoch_now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Under "global": the events of a job are among them.
void StateRoutes::events(Call call) {
  const Reply reply = call.reply;
  ask("list_cluster_events", reply, [reply](const json::object& answer) {
    json::array shown;
    for (const json::value& event : array_at(answer, "events")) {
      const json::object& row = event.get_object();
      const std::string time = text_at(row, "time");
      shown.push_back({{"eventId", text_at(row, "event_id")},
                       {"sourceType", text_at(row, "source_type")},
                       {"message", text_at(row, "message")},
                       {"timestamp", time},
                       {"severity", text_at(row, "severity")},
                       {"label", ""},
                       {"customFields", json::object()},
                       {"time", time}});
    }
    reply(json_response(200, enveloped(true, "All events fetched.", {{"events", {{"global", std::move(shown)}}}})));
  });
}

// As those ask that end clusters which nobody uses.
void StateRoutes::activities(Call call) {
  const Reply reply = call.reply;
  ask("list_jobs", reply, [reply](const json::object& answer) {
    int64_t running = 0, last_end_ms = 0;
    for (const json::value& job : array_at(answer, "jobs")) {
      if (!flag_at(job.get_object(), "is_dead")) ++running;
      last_end_ms = std::max(last_end_ms, number_at(job.get_object(), "end_time", 0));
    }
    json::object driver = {{"is_active", running > 0 ? "ACTIVE" : "INACTIVE"},
                           {"reason", nullptr},
                           {"timestamp", epoch_now_s()},
                           {"last_activity_at", nullptr}};
    if (running > 0) driver["reason"] = "Number of active drivers: " + std::to_string(running);
    if (last_end_ms > 0) driver["last_activity_at"] = static_cast<double>(last_end_ms) / 1000;
    reply(json_response(200, json::object{{"driver", std::move(driver)}}));
  });
}

void StateRoutes::cluster_id(Call call) {
  const Reply reply = call.reply;
  ask("session_info", reply, [reply](const json::object& answer) {
    reply(json_response(200, enveloped(true, "Fetched cluster id", {{"clusterId", text_at(answer, "node_id")}})));
  });
}

}  // namespace narke::gateway
